"""Draws what a clip is and what a protocol does, by tubelet's own sampling, resizing, crops and normalization.

python docs/figures/draw_protocol.py
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from draw import COLORS, FOLDER, INK, PALE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tubelet.data.clips.frame_sampling import view_clips
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import crop_frames, resize_frames, view_geometry
from tubelet.data.synthetic import motion_clip
from tubelet.protocol import Protocol

FPS, NUM_FRAMES = 24, 36  # of the film
PROTOCOL = Protocol(
    num_frames=8,
    frame_stride=3,
    resize_short_side=48,
    crop_size=(48, 48),
    num_temporal_views=1,
    num_spatial_crops=3,
)


def film() -> np.ndarray:
    """A wide film, ``T H W 3``."""
    whole = motion_clip("right", np.random.default_rng(4), size_pixels=112, num_frames=NUM_FRAMES)
    return np.asarray(whole)[:, 20:92]


def chosen(protocol: Protocol) -> list[int]:
    """The frames of the film that the one view has."""
    (plan,) = view_clips([Fraction(number, FPS) for number in range(NUM_FRAMES)], protocol)
    return [int(index) for index in plan.indices]


def clip(path: Path) -> None:
    """The frames of a film, and those of them that enter the model once."""
    figure = Figure(figsize=(9, 1.9), dpi=150, layout="constrained")
    axes = figure.subplots()
    frames, indices = film(), chosen(PROTOCOL)
    for number, frame in enumerate(frames):
        axes.imshow(frame, extent=(number, number + 0.92, 0.6, 0), zorder=1, alpha=1.0 if number in indices else 0.35)
    step = NUM_FRAMES / len(indices)
    for place, index in enumerate(indices):
        left = place * step
        axes.imshow(frames[index], extent=(left, left + step - 0.2, 4.4, 1.6), zorder=1)
        axes.add_patch(Rectangle((left, 1.6), step - 0.2, 2.8, fill=False, edgecolor=COLORS[0], linewidth=1.5))
        axes.plot((index + 0.46, left + step / 2), (0.62, 1.58), color=COLORS[0], linewidth=0.8)
        text = f"{index / FPS:.3f} s"
        axes.text(left + step / 2, 4.75, text, ha="center", va="center", fontsize=7, color=INK)
    about = f"{NUM_FRAMES} frames of a film at {FPS} per second"
    axes.text(0, -0.35, about, fontsize=9, color=INK)
    about = f"one clip: num_frames {PROTOCOL.num_frames}, frame_stride {PROTOCOL.frame_stride}; by time with target_fps"
    axes.text(0, 5.4, about, fontsize=9, color=INK)
    bare(axes, (-0.2, NUM_FRAMES + 0.2), (5.6, -0.7))
    figure.savefig(path)


def protocol(path: Path) -> None:
    """What a protocol makes of the middle frame: its size, its crops and the range of its values."""
    figure = Figure(figsize=(9, 2.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    frame = torch.from_numpy(film()[chosen(PROTOCOL)[4]]).permute(2, 0, 1)[None]
    geometry = view_geometry(*frame.shape[2:], PROTOCOL)
    resized = resize_frames(frame, geometry)
    crops = crop_frames(resized, geometry)
    values = normalize(torch.stack([crop[0] for crop in crops])[:, :, None], PROTOCOL)
    shown(axes, frame, 0, f"decoded: {frame.shape[2]} × {frame.shape[3]}")
    shown(
        axes, resized, 150, f"resize_short_side {PROTOCOL.resize_short_side}: {resized.shape[2]} × {resized.shape[3]}"
    )
    for number, crop in enumerate(crops):
        shown(axes, crop, 262 + number * 54, ("crop_size 48,48: 3 crops", "", "")[number])
    text = f"(x / 255 − mean) / std:\n{values.min():.2f} to {values.max():.2f}\n\nclips of shape\nC T H W = 3 8 48 48"
    axes.text(446, 24, text, fontsize=8, color=INK, va="center")
    for left in (124, 238, 434):
        axes.annotate("", (left + 6, 24), (left - 8, 24), arrowprops={"arrowstyle": "->", "color": PALE})
    facts = (
        "A checkpoint carries it: validation, test, command line, library and exported files read alike.",
        f"averaging {PROTOCOL.averaging}: those of all views are averaged.",
    )
    axes.text(0, 98, "\n".join(facts), fontsize=8, color=INK, va="center")
    bare(axes, (-2, 548), (108, -14))
    figure.savefig(path)


def shown(axes: Axes, frame: torch.Tensor, left: float, title: str) -> None:
    """A frame in its own number of pixels."""
    height, width = frame.shape[2:]
    axes.imshow(frame[0].permute(1, 2, 0).numpy(), extent=(left, left + width, height, 0), interpolation="nearest")
    axes.text(left, -5, title, fontsize=8, color=INK)


def bare(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    axes.axis("off")


if __name__ == "__main__":
    clip(FOLDER / "clip.png")
    protocol(FOLDER / "protocol.png")
