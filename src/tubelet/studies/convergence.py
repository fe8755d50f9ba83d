"""How fast a run learns: the area under its validation curve, and the steps it takes to fixed values."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.integrate import trapezoid


def area_under_curve(steps: Sequence[float], values: Sequence[float]) -> float:
    """Mean height of a validation curve over training steps, by trapezoids from the first validation to the last.

    A curve of one validation has its value. NaN for an empty curve.
    """
    if len(steps) < 2:
        return float(values[0]) if len(values) else float("nan")
    return float(trapezoid(values, steps) / (steps[-1] - steps[0]))


def steps_to(steps: Sequence[float], values: Sequence[float], level: float, *, is_lower_better: bool) -> int | None:
    """The step of the first validation that reaches ``level``. None means that the run never does."""
    for step, value in zip(steps, values, strict=True):
        if value <= level if is_lower_better else value >= level:
            return int(step)
    return None
