"""Plots of a comparison: every run, learning curves with bands, accuracy against cost, times as bars; inline SVG.

Each arm has its color and marker. From the seventh on, markers are hollow and lines dashed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tubelet.report.plots import GLYPHS, INK, MARKERS, SERIES, dress, dress_frame, inline_svg
from tubelet.studies.results import ArmResult
from tubelet.studies.statistics import mean_interval

HOLLOW_GLYPHS = ("○", "□", "△", "◇", "▽", "✛")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One arm in the plane of cost and accuracy."""

    series: int
    cost: float
    value: float
    low: float
    high: float


def glyph(series: int) -> str:
    """The marker of an arm in legends and tables."""
    glyphs = GLYPHS if series < len(MARKERS) else HOLLOW_GLYPHS
    return glyphs[series % len(MARKERS)]


def curves(arms: Sequence[ArmResult], quantity: str, *, y_label: str, salt: str) -> Markup:
    """Mean over seeds of a validation curve, with the 95 % interval as a band where several seeds have the point."""

    def draw(axes: Axes) -> None:
        for series, arm in enumerate(arms):
            steps, values = _over_seeds(arm, quantity)
            if not len(steps):
                continue
            mean, low, high = mean_interval(values)
            axes.plot(steps, mean, **_style(series), linewidth=1.7, markersize=4)
            if not np.isnan(low).all():
                axes.fill_between(steps, low, high, color=_color(series), alpha=0.14, linewidth=0)
        dress(axes, y_label)

    return Markup(inline_svg(draw, salt=salt))


def every_run(arms: Sequence[ArmResult], metric: str, *, x_label: str, salt: str) -> Markup:
    """A row per arm: a dot for each run on the test split, and their mean with its 95 % interval."""

    def draw(axes: Axes) -> None:
        for series, arm in enumerate(arms):
            values = [value for run in arm.runs if (value := run.test.get(metric)) is not None]
            axes.plot(values, [series + 0.22] * len(values), ".", color=_color(series), markersize=5, alpha=0.5)
            found = arm.test.get(metric)
            if found is None:
                continue
            if not math.isnan(found.low):
                axes.plot([found.low, found.high], [series, series], color=_color(series), linewidth=1.6)
            axes.plot([found.mean], [series], **_style(series) | {"linestyle": "none"}, markersize=7)
        axes.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)  # the first on top
        axes.set_xlabel(x_label, color=INK)
        dress_frame(axes)

    return Markup(inline_svg(draw, salt=salt, height_inches=1.0 + 0.3 * len(arms)))


def accuracy_against_cost(
    points: Sequence[Point], *, x_label: str, y_label: str, salt: str, is_lower_better: bool = False
) -> Markup:
    """A point per arm with the interval of its accuracy; the line joins the arms that no cheaper one reaches."""

    def draw(axes: Axes) -> None:
        best = frontier(points, is_lower_better=is_lower_better)
        axes.plot([p.cost for p in best], [p.value for p in best], color=INK, linewidth=1, linestyle=":")
        for point in points:
            bounds = [[point.value - point.low], [point.high - point.value]]
            errors = None if math.isnan(point.low) else bounds
            line = _style(point.series) | {"linestyle": "none"}
            axes.errorbar([point.cost], [point.value], yerr=errors, **line, markersize=7, elinewidth=1.2)
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel(y_label, color=INK)
        axes.margins(0.12)
        axes.xaxis.set_major_locator(MaxNLocator(4))  # costs that hardly differ have long labels
        dress_frame(axes)

    return Markup(inline_svg(draw, salt=salt))


def frontier(points: Sequence[Point], *, is_lower_better: bool = False) -> list[Point]:
    """The points that none is both cheaper and better than, by rising cost."""
    kept: list[Point] = []
    sign = -1 if is_lower_better else 1
    for point in sorted(points, key=lambda p: (p.cost, -sign * p.value)):
        if not kept or sign * point.value > sign * kept[-1].value:
            kept.append(point)
    return kept


def bars(values: Mapping[str, tuple[float, float, float]], *, x_label: str, salt: str) -> Markup:
    """A bar per arm (value, low, high), in the order given from top to bottom."""

    def draw(axes: Axes) -> None:
        for series, (value, low, high) in enumerate(values.values()):
            axes.barh(series, value, color=_color(series), height=0.62, alpha=0.85)
            axes.plot([low, high], [series, series], color=INK, linewidth=1.4)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.set_xlabel(x_label, color=INK)
        dress_frame(axes)
        axes.grid(visible=False)

    return Markup(inline_svg(draw, salt=salt, height_inches=1.0 + 0.3 * len(values)))


def _over_seeds(arm: ArmResult, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps that all runs validated at, and the values there, one row per step and one column per seed."""
    found = [dict(zip(run.curve["step"], run.curve[quantity], strict=True)) for run in arm.runs if run.curve]
    steps = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    values = [[curve[step] for curve in found] for step in steps]
    return np.array(steps), np.array(values, dtype=np.float64)


def _color(series: int) -> str:
    return SERIES[series % len(SERIES)]


def _style(series: int) -> dict[str, Any]:
    is_first = series < len(MARKERS)
    return {
        "color": _color(series),
        "marker": MARKERS[series % len(MARKERS)],
        "linestyle": "-" if is_first else "--",
        "markerfacecolor": _color(series) if is_first else "none",
    }
