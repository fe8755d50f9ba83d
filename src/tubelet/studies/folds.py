"""Cross-validation: what the folds of one recipe say together.

Every fold is a run whose test split is one part of the data (``ManifestConfig.fold``). A figure has a mean and a
spread over folds. A share of right answers has a pooled value too, over all videos by the model that has not seen them;
ranks and probabilities of several models do not share a scale, so other metrics have none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.manifest import Sample
from tubelet.evaluation.evaluate import Evaluation
from tubelet.evaluation.intervals import group_figures
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.files import write_atomically
from tubelet.recipe import Recipe
from tubelet.tasks.metric import Values

FILE = "folds.json"  # in the folder of the runs


@dataclass(frozen=True, kw_only=True)
class FoldFigure:
    """One metric over the folds."""

    title: str
    values: tuple[float | None, ...]  # of each fold; None where it is not defined
    pooled: float | None = None  # over the videos of all folds; None where that has no meaning

    @property
    def mean(self) -> float | None:
        known = self._known
        return mean(known) if known else None

    @property
    def sd(self) -> float | None:
        return stdev(self._known) if len(self._known) > 1 else None

    @property
    def _known(self) -> list[float]:
        return [value for value in self.values if value is not None]


@dataclass(frozen=True, kw_only=True)
class FoldSummary:
    """What all folds say together."""

    figures: dict[str, FoldFigure]  # by key
    num_videos: int  # tested, each by one fold
    num_groups: int
    intervals: dict[str, tuple[float, float]]  # of pooled values, over groups
    baseline: str  # what a model that knows nothing reaches over all videos

    @property
    def text(self) -> str:
        """Mean and spread of each figure, and the pooled ones, in one line."""
        parts = []
        for figure in self.figures.values():
            if figure.mean is not None:
                spread = "" if figure.sd is None else f" ± {figure.sd:.3f}"
                pooled = "" if figure.pooled is None else f" (pooled {figure.pooled:.3f})"
                parts.append(f"{figure.title} {figure.mean:.3f}{spread}{pooled}")
        return f"{', '.join(parts)}; {self.num_videos} videos of {self.num_groups} groups"

    def to_dict(self) -> dict[str, Any]:
        """The content of ``folds.json``."""
        figures = {
            key: {"mean": f.mean, "sd": f.sd, "folds": list(f.values), "pooled": f.pooled}
            for key, f in self.figures.items()
        }
        return {
            "num_videos": self.num_videos,
            "num_groups": self.num_groups,
            "metrics": figures,
            "intervals": {key: list(bounds) for key, bounds in self.intervals.items()},
            "baseline": self.baseline,
        }


def summarize_folds(folds: Sequence[MeasuredSplit]) -> FoldSummary:
    """The figures of the evaluations of all folds on their test splits."""
    samples = [sample for fold in folds for sample in fold.samples]
    whole, of_groups = _pooled(folds, samples)
    figures = {}
    for cells in zip(*(fold.cells("seeds") for fold in folds), strict=True):
        metric = cells[0].metric
        pooled = whole.get(metric.key) if metric.is_right_answers and not cells[0].head else None
        key = f"{cells[0].head}.{metric.key}" if cells[0].head else metric.key
        figures[key] = FoldFigure(
            title=cells[0].title,
            values=tuple(cell.value for cell in cells),
            pooled=pooled if isinstance(pooled, float) else None,
        )
    num_groups, intervals = of_groups.get("num_groups", len(samples)), of_groups.get("intervals", {})
    assert isinstance(num_groups, int)
    assert isinstance(intervals, dict)
    return FoldSummary(
        figures=figures,
        num_videos=len(samples),
        num_groups=num_groups,
        intervals=intervals,
        baseline=folds[0].task.baseline_text(whole),
    )


def _pooled(folds: Sequence[MeasuredSplit], samples: Sequence[Sample]) -> tuple[Values, dict[str, object]]:
    """Metrics and figures of groups over the videos of all folds; of steps of films those of the first fold, which
    pool nothing."""
    evaluations = [fold for fold in folds if isinstance(fold, Evaluation)]
    if len(evaluations) < len(folds):
        return folds[0].metrics, {"num_groups": len(set(units_of(samples)))}
    probs, task = torch.cat([fold.probs for fold in evaluations]), evaluations[0].task
    whole = task.measure(probs, task.targets([sample.labels for sample in samples]))
    return whole, group_figures(task, samples, probs)


def with_fold(recipe: Recipe, fold: int) -> Recipe:
    """The recipe whose test split is this fold, from 1 on."""
    manifest = replace(recipe.data.manifest, fold=fold)
    return replace(recipe, data=replace(recipe.data, manifest=manifest))


def write_folds(folder: Path, summary: FoldSummary) -> None:
    """Write ``folds.json`` into the folder of the runs."""
    write_atomically(folder / FILE, json.dumps(summary.to_dict(), indent=2) + "\n")
