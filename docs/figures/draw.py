"""Draws the figures of the documentation, from clips that the package generates. Run it from anywhere:

python docs/figures/draw.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tubelet.data.synthetic import CLASSES, motion_clip

FOLDER = Path(__file__).parent
INK, PALE = "#1f2933", "#7b8794"
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")  # Okabe and Ito's, told apart by the color-blind
SIZE, PATCH, FRAMES = 64, 16, 8


def clip_of(name: str, seed: int = 0) -> np.ndarray:
    """Frames ``T H W 3`` of a generated clip."""
    return np.asarray(motion_clip(name, np.random.default_rng(seed), size_pixels=SIZE, num_frames=FRAMES))


def frames(axes: Axes, clip: np.ndarray, *, tubelet_frames: int) -> None:
    """The frames of a clip in a row, cut into patches; a bracket for each tubelet, and one tubelet framed."""
    for number, frame in enumerate(clip):
        left = number * (SIZE + 8)
        axes.imshow(frame, extent=(left, left + SIZE, SIZE, 0), interpolation="nearest", zorder=1)
        for line in range(0, SIZE + 1, PATCH):
            axes.plot((left, left + SIZE), (line, line), color="white", linewidth=0.6, zorder=2)
            axes.plot((left + line, left + line), (0, SIZE), color="white", linewidth=0.6, zorder=2)
        color = COLORS[number // tubelet_frames % len(COLORS)]
        axes.add_patch(Rectangle((left, 0), SIZE, SIZE, fill=False, edgecolor=color, linewidth=2, zorder=3))
        if number < tubelet_frames:
            place = (left + PATCH, PATCH)
            axes.add_patch(Rectangle(place, PATCH, PATCH, facecolor=color, alpha=0.45, edgecolor=color, zorder=4))
    axes.set_xlim(-4, FRAMES * (SIZE + 8))
    axes.set_ylim(SIZE + 4, -4)
    axes.set_aspect("equal")
    axes.axis("off")


def timeline(axes: Axes, rows: dict[str, list[tuple[float, float]]], seconds: float) -> None:
    """Stretches of a film, a row per class."""
    for row, (name, stretches) in enumerate(rows.items()):
        axes.broken_barh([(start, end - start) for start, end in stretches], (row - 0.36, 0.72), color=COLORS[row])
        axes.text(-0.4, row, name, ha="right", va="center", fontsize=9, color=INK)
    axes.set_xlim(0, seconds)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xticks(range(0, int(seconds) + 1, 10), [f"0:{s:02d}" for s in range(0, int(seconds) + 1, 10)], fontsize=8)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def overview(path: Path) -> None:
    """The picture of the README: a clip cut into tubelets, and what is in a film, and when."""
    figure = Figure(figsize=(9, 3.1), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1.25, 1))
    frames(above, clip_of(CLASSES[0], 3), tubelet_frames=2)
    above.set_title(
        "a clip of 8 frames, cut into tubelets of 2 × 16 × 16 pixels: 4 × 4 × 4 tokens", fontsize=9, color=INK
    )
    rows = {
        "groom": [(3.0, 9.5), (31.0, 38.2)],
        "rear": [(11.0, 12.4), (19.5, 21.2), (44.0, 45.6)],
        "walk": [(12.4, 19.5), (21.2, 31.0), (45.6, 57.0)],
    }
    timeline(below, rows, 60.0)
    below.set_title("a film: a label per moment (schematic)", fontsize=9, color=INK)
    figure.savefig(path)


def clip_and_view(path: Path) -> None:
    """A clip, its temporal views and its spatial crops."""
    figure = Figure(figsize=(9, 2.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 100), (0, 0), color=PALE, linewidth=6, solid_capstyle="butt")
    axes.text(0, 0.16, "a video", fontsize=9, color=INK)
    for number, start in enumerate((8, 38, 68)):
        color = COLORS[number]
        axes.plot(start + np.arange(8) * 3, np.full(8, 0.0), "o", color=color, markersize=5)
        axes.text(
            start + 10.5,
            -0.24,
            f"temporal clip {number + 1}: 8 frames, every 3rd",
            ha="center",
            fontsize=8,
            color=color,
        )
        for crop in range(3):
            place = (start + crop * 8, -0.86)
            axes.add_patch(Rectangle(place, 5, 0.4, fill=False, edgecolor=color, linewidth=1.5))
            axes.text(place[0] + 2.5, -0.66, ["left", "mid", "right"][crop], ha="center", va="center", fontsize=7)
    axes.text(
        50,
        -1.12,
        "3 temporal clips × 3 spatial crops = 9 views, whose scores are averaged (--views 3x3)",
        ha="center",
        fontsize=9,
        color=INK,
    )
    axes.set_xlim(-2, 102)
    axes.set_ylim(-1.25, 0.35)
    axes.axis("off")
    figure.savefig(path)


def groups(path: Path) -> None:
    """Clips of one animal, film or patient stay on one side of a split."""
    figure = Figure(figsize=(9, 1.9), dpi=150, layout="constrained")
    axes = figure.subplots()
    for part, (title, members) in enumerate({"train": (0, 1, 2), "validation": (3,), "test": (4,)}.items()):
        left = (0, 56, 79)[part]
        axes.add_patch(Rectangle((left, 0), (54, 21, 21)[part], 1, fill=False, edgecolor=PALE))
        axes.text(left + 1, 1.07, title, fontsize=9, color=INK)
        for place, member in enumerate(members):
            for clip in range(4):
                spot = (left + 2 + place * 17.5 + clip * 4, 0.35)
                axes.add_patch(Rectangle(spot, 3, 0.3, facecolor=COLORS[member], alpha=0.85))
            axes.text(left + 2 + place * 17.5, 0.12, f"animal {member + 1}", fontsize=8, color=INK)
    axes.set_xlim(-1, 101)
    axes.set_ylim(-0.05, 1.3)
    axes.axis("off")
    figure.savefig(path)


FIGURES: dict[str, Callable[[Path], None]] = {"overview": overview, "views": clip_and_view, "groups": groups}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        draw(FOLDER / f"{name}.png")
