"""A small grid of recipes, each with several seeds, judged on the validation split.

Runs go seed by seed through all settings, so that a sweep that is stopped early has tried every setting about equally
often. A finished run is kept, a stopped one goes on, and one whose loss is no longer finite is counted as diverged.
The test split is not touched: who chooses by it has no test split any more.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from tubelet.errors import ConfigError
from tubelet.files import write_atomically
from tubelet.recipe import Recipe
from tubelet.runs.result import RunResult
from tubelet.tasks.choose import ranked_metric, study_columns

Values = tuple[tuple[str, str], ...]  # (recipe field, text of its value) of each axis
Make = Callable[[Values, int], Recipe]  # the recipe of a setting and a seed
CarryOut = Callable[[Recipe, Path], RunResult]
Repeat = Literal["seed", "fold"]  # what the runs of one setting differ in


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A field of the recipe and the values it is tried at, as texts."""

    field: str
    values: tuple[str, ...]


@dataclass(kw_only=True)
class GridPoint:
    """One point of the grid and what became of its runs."""

    values: Values
    results: dict[int, RunResult] = field(default_factory=dict)  # by seed or fold

    @property
    def name(self) -> str:
        """What its folder is called: ``lr=1e-4,batch_size=32``."""
        return ",".join(f"{key.rpartition('.')[2]}={value.replace('/', '_')}" for key, value in self.values)

    def scores(self, metric: str) -> list[float]:
        """Of the runs that did not diverge."""
        found = [self.results[seed].metrics.get(metric) for seed in sorted(self.results)]
        return [value for value in found if value is not None]

    @property
    def num_diverged(self) -> int:
        return sum(result.diverged is not None for result in self.results.values())


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep has found so far."""

    settings: tuple[GridPoint, ...]
    metric: str  # of the validation split, decides
    num_seeds: int  # or folds
    repeat: Repeat = "seed"

    @property
    def best(self) -> GridPoint | None:
        """The setting with the best mean among those of which no run diverged. None means that all did."""
        sound = [s for s in self.settings if s.scores(self.metric) and not s.num_diverged]
        sign = -1 if ranked_metric(self.metric).is_lower_better else 1
        return max(sound, key=lambda s: sign * mean(s.scores(self.metric)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``sweep.json``."""
        best = self.best
        return {
            "metric": self.metric,
            "split": "val",
            f"num_{self.repeat}s": self.num_seeds,
            "num_runs": sum(len(setting.results) for setting in self.settings),
            "num_diverged": sum(setting.num_diverged for setting in self.settings),
            "best": None if best is None else dict(best.values),
            "settings": [self._row(setting) for setting in self.settings],
        }

    def _row(self, setting: GridPoint) -> dict[str, Any]:
        scores = setting.scores(self.metric)
        return {
            "values": dict(setting.values),
            "folder": setting.name,
            "mean": mean(scores) if scores else None,
            "sd": stdev(scores) if len(scores) > 1 else None,
            "scores": scores,
            "num_runs": len(setting.results),
            "num_diverged": setting.num_diverged,
            "train_seconds": round(sum(result.train_seconds for result in setting.results.values()), 1),
        }


def parse_axes(texts: Sequence[str]) -> list[Axis]:
    """``optim.lr=1e-4,3e-4`` as axes. Commas in brackets belong to a value: ``protocol.crop_size=[16,16],[32,32]``.

    Raises:
        ConfigError: not of this form, or a field or value that stands twice.
    """
    axes = []
    for text in texts:
        name, equals, listed = text.partition("=")
        values = tuple(_split(listed))
        if not equals or not name or not all(values):
            raise ConfigError(f"--sweep {text}: expected FIELD=VALUE,VALUE,... such as optim.lr=1e-4,3e-4")
        if len(set(values)) < len(values):
            raise ConfigError(f"--sweep {text}: a value stands twice")
        axes.append(Axis(field=name.replace("-", "_"), values=values))
    names = [axis.field for axis in axes]
    if len(set(names)) < len(names):
        raise ConfigError(f"--sweep: a field stands twice among {', '.join(names)}")
    return axes


def run_sweep(
    axes: Sequence[Axis],
    seeds: Sequence[int],
    make: Make,
    carry_out: CarryOut,
    folder: Path,
    *,
    metric: str,
    repeat: Repeat = "seed",
    on_run: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Run the grid in ``folder``, one folder per setting and seed in it, or go on with it.

    ``sweep.csv`` (a row per run) and ``sweep.json`` are written after every run.

    Args:
        seeds: of the runs of each setting, or their folds.
        make: the recipe of a setting and a seed (or fold); all are made before anything runs: a wrong value
            costs nothing.
        carry_out: trains a recipe in a folder, or reads what became of it.
        on_run: called with the number of runs done and of all.

    Raises:
        TubeletError: a recipe that cannot be, or a run that failed otherwise than by diverging.
    """
    grid = itertools.product(*([(axis.field, value) for value in axis.values] for axis in axes))
    settings = tuple(GridPoint(values=values) for values in grid)
    recipes = [(seed, setting, make(setting.values, seed)) for seed in seeds for setting in settings]
    sweep = Sweep(settings=settings, metric=metric, num_seeds=len(seeds), repeat=repeat)
    for done, (seed, setting, recipe) in enumerate(recipes):
        on_run(done, len(recipes))
        result = carry_out(recipe, folder / setting.name / f"{repeat}{seed}")
        if result.diverged is None and not math.isfinite(result.metrics.get(metric) or math.nan):
            _check_metric(result, metric)
        setting.results[seed] = result
        write_atomically(folder / "sweep.csv", _table(sweep))
        write_atomically(folder / "sweep.json", json.dumps(sweep.to_dict(), indent=2) + "\n")
    on_run(len(recipes), len(recipes))
    return sweep


def _check_metric(result: RunResult, metric: str) -> None:
    if result.metrics.get(metric) is None:
        known = sorted(name for name, value in result.metrics.items() if value is not None)
        raise ConfigError(f"the validation split does not have the metric '{metric}'; it has {', '.join(known)}")


def _table(sweep: Sweep) -> str:
    """A row per run, in the order of the grid."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = [key for key, _ in sweep.settings[0].values]
    present = {name for setting in sweep.settings for o in setting.results.values() for name in o.metrics}
    shown = [name for name in study_columns() if name in present]
    writer.writerow([*fields, sweep.repeat, "outcome", *shown, "num_steps", "train_seconds", "folder"])
    for setting in sweep.settings:
        for seed, result in sorted(setting.results.items()):
            end = "finished" if result.diverged is None else "diverged"
            cells = [result.metrics.get(name) for name in shown]
            run = f"{setting.name}/{sweep.repeat}{seed}"
            row = [*(value for _, value in setting.values), seed, end, *("" if c is None else c for c in cells)]
            writer.writerow([*row, result.num_steps, result.train_seconds, run])
    return text.getvalue()


def _split(text: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
