"""Curves as inline SVG and frames as inline JPEG, for an HTML page without external files.

Figures are made without pyplot, so that the caller's backend and figures stay as they are. Colors are written as
CSS variables of the page, which is how one SVG serves a light, a dark and a printed page.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, MaxNLocator

MAX_POINTS = 300  # of one curve; more are averaged in equal groups
MAX_FRAME_PIXELS = 192  # longer side of a frame in the page
MARKERS = ("o", "s", "^", "D", "v", "P")
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚")  # the same markers in the page's legend

# Stand-ins that matplotlib accepts as colors; each becomes the CSS of the page.
INK, GRID = "#010203", "#010204"
SERIES = tuple(f"#0102{16 + i:02x}" for i in range(len(MARKERS)))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel. ``series`` chooses color and marker; a validation curve is marked."""

    steps: Sequence[float]
    values: Sequence[float]
    series: int
    is_validation: bool


def panel(
    curves: Sequence[Curve], *, y_label: str, salt: str, share: bool = False, baseline: float | None = None
) -> str:
    """An SVG element with the curves over training steps.

    Args:
        curves: at least one.
        y_label: quantity and unit of the vertical axis.
        salt: differs between the panels of one page, so that element ids do.
        share: values are shares in [0, 1], shown in percent on a full axis.
        baseline: a level drawn as a dotted line.
    """

    def draw(axes: Axes) -> None:
        for curve in curves:
            _draw(axes, curve)
        if baseline is not None:
            axes.axhline(baseline, color=INK, linestyle=":", linewidth=1.2)
        dress(axes, y_label, share=share)

    return inline_svg(draw, salt=salt)


def inline_svg(draw: Callable[[Axes], None], *, salt: str, height_inches: float = 2.6) -> str:
    """An SVG element with what ``draw`` draws, in the colors ``INK``, ``GRID`` and ``SERIES``."""
    with style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10}]):
        figure = Figure(figsize=(4.2, height_inches), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        empty = {"Date": None, "Creator": None, "Type": None, "Format": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    return _inline(buffer.getvalue())


def group_size(num_values: int) -> int:
    """Consecutive values that one point of a curve stands for."""
    return max(1, -(-num_values // MAX_POINTS))


def averaged(values: Sequence[float]) -> list[float]:
    """Means of equal groups of consecutive values; the last group may be smaller. NaN counts as absent."""
    group = group_size(len(values))
    means = []
    for start in range(0, len(values), group):
        present = [v for v in values[start : start + group] if not math.isnan(v)]
        means.append(sum(present) / len(present) if present else math.nan)
    return means


def jpeg(frame: UInt8[np.ndarray, "H W 3"]) -> str:
    """A ``data:`` address of the frame, shrunk by a whole factor to at most MAX_FRAME_PIXELS on its longer side."""
    factor = -(-max(frame.shape[:2]) // MAX_FRAME_PIXELS)
    if factor > 1:
        height, width = frame.shape[0] // factor, frame.shape[1] // factor
        blocks = frame[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
        frame = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(frame), format="jpeg", pil_kwargs={"quality": 88})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _draw(axes: Axes, curve: Curve) -> None:
    color = SERIES[curve.series % len(SERIES)]
    if curve.is_validation:
        marker = MARKERS[curve.series % len(MARKERS)]
        axes.plot(curve.steps, curve.values, color=color, linewidth=1.8, marker=marker, markersize=4.5)
        return
    axes.plot(averaged(curve.steps), averaged(curve.values), color=color, linewidth=1.1, alpha=0.65)


def dress(axes: Axes, y_label: str, *, share: bool = False) -> None:
    """Labels, ticks and grid as all panels over training steps have them."""
    axes.set_xlabel("training step", color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if share:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))
    dress_frame(axes)


def dress_frame(axes: Axes) -> None:
    """Grid, ticks and spines as all plots have them."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)


def _inline(svg: str) -> str:
    """The SVG element alone, in the page's colors and font, without addresses of any kind."""
    svg = svg[svg.index("<svg") :].strip()
    for pattern in (
        r"<metadata>.*?</metadata>",
        r"<style.*?</style>",
        r'\sxmlns(:\w+)?="[^"]*"',
        r"font-family: [^;]*; ",
    ):
        svg = re.sub(pattern, "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"\sheight="[^"]*"', r"\1", svg).replace("xlink:href", "href")
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for index, color in enumerate(SERIES):
        svg = svg.replace(color, f"var(--series-{index})")
    return svg.replace("<svg", '<svg aria-hidden="true"', 1)
