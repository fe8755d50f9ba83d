"""Numbers as a reader of a report wants them: rounded once, with their unit, and with their uncertainty."""

from __future__ import annotations

import math

SPACE = "\u00a0"  # no line break between a number and its unit


def percent(share: float | None) -> str:
    """A share in [0, 1] as ``84.4 %``; a dash where it is not defined."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}{SPACE}%"


def decimal(value: float | None) -> str:
    """Three decimals, or a dash where the value is not defined."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def count(number: int, noun: str = "") -> str:
    """``1 video``, ``2,000 videos``."""
    unit = f"{SPACE}{noun}{'' if number == 1 else 's'}" if noun else ""
    return f"{number:,}{unit}"


def parameters(number: int) -> str:
    """A number of parameters as papers write it: ``88.9 M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f}{SPACE}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s`` or ``2 h 10 min``; a dash where it is not defined."""
    if math.isnan(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{SPACE}s" if seconds < 10 else f"{whole}{SPACE}s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours:,}{SPACE}h {minutes}{SPACE}min"
    return f"{minutes}{SPACE}min {rest}{SPACE}s"


def wilson_interval(share: float, num_trials: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``num_trials`` independent videos (Wilson 1927), in [0, 1]."""
    z = 1.959964
    center = (share + z**2 / (2 * num_trials)) / (1 + z**2 / num_trials)
    half = z / (1 + z**2 / num_trials) * math.sqrt(share * (1 - share) / num_trials + (z / (2 * num_trials)) ** 2)
    return max(0.0, center - half), min(1.0, center + half)
