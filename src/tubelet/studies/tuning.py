"""Choosing a setting for each arm from the validation scores of a grid that is the same for all.

Pure functions of what the runs reached: the same results always give the same grid and the same choice, so that a
comparison that goes on after a stop comes to the same settings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tubelet.studies.arms import Tuning

Setting = tuple[tuple[str, float], ...]  # (recipe field, value) of every axis, in the order of the grid
TuningGrid = dict[str, tuple[float, ...]]
SettingScores = Mapping[
    Setting, Sequence[float | None]
]  # of each run of a setting on the validation split; None: diverged


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best setting of one arm."""

    setting: Setting
    score: float  # mean over the tuning seeds; NaN where every run of every setting diverged
    num_runs: int  # looks at the validation split
    num_diverged: int
    at_edge: tuple[str, ...]  # axes whose best value has no neighbor on one side, though it might be better


def settings_of(grid: TuningGrid) -> list[Setting]:
    """Every combination of the values."""
    return [tuple(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def choose(grid: TuningGrid, scores: SettingScores, *, is_lower_better: bool = False) -> Choice:
    """The setting with the best mean; one of which a run diverged stands behind all that never did.

    Of equals, the first in the order of the grid: the lowest values.
    """
    settings = settings_of(grid)
    best = max(settings, key=lambda setting: _rank(scores[setting], -1 if is_lower_better else 1))
    runs = [score for setting in settings for score in scores[setting]]
    at_edge = [
        key for key, value in best if len(grid[key]) > 2 and value in (grid[key][0], grid[key][-1])
    ]  # two values have no inside
    reached = [score for score in scores[best] if score is not None]
    return Choice(
        setting=best,
        score=sum(reached) / len(reached) if reached else math.nan,
        num_runs=len(runs),
        num_diverged=sum(score is None for score in runs),
        at_edge=tuple(at_edge),
    )


def extended(grid: TuningGrid, tuning: Tuning, choices: Sequence[Choice]) -> TuningGrid:
    """The grid with one more value, in the axis's own ratio, at each edge where the best of some arm lies.

    Equal to ``grid`` when there is none, or when the axis has grown as far as it may.
    """
    grown = dict(grid)
    for key in tuning.extended:
        values, first = grid[key], tuning.grid[key]
        bests = {dict(choice.setting)[key] for choice in choices}
        num_below, num_above = values.index(first[0]), len(values) - 1 - values.index(first[-1])
        if values[0] in bests and num_below < tuning.max_extensions:
            grown[key] = (_rounded(values[0] ** 2 / values[1]), *grown[key])
        if values[-1] in bests and num_above < tuning.max_extensions:
            grown[key] = (*grown[key], _rounded(values[-1] ** 2 / values[-2]))
    return grown


def text_of(setting: Setting) -> str:
    """A setting as it is printed and as it names folders: ``lr=0.0005``."""
    return ",".join(f"{key.rpartition('.')[2]}={value:g}" for key, value in setting)


def _rank(scores: Sequence[float | None], sign: int) -> tuple[bool, float]:
    reached = [score for score in scores if score is not None]
    return len(reached) == len(scores), sign * sum(reached) / len(reached) if reached else -math.inf


def _rounded(value: float) -> float:
    """To four digits, so that 1e-4 is followed by 3e-4 and not by a number that no one would write."""
    return float(f"{value:.4g}")
