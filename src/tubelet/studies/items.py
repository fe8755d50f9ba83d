"""Resampled test sets: how much a difference depends on which items happen to be in the test split.

The bootstrap draws test items with replacement (Efron 1979), groups of them as a whole, the same ones for both arms,
and takes the metric of every run on them. Resampled sets are weights: how often each item was drawn
(``tubelet.evaluation.intervals``).

    N  test items   K  classes   R  resampled sets   S  seeds
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from tubelet.data.manifest.manifest import Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.manifest.segments import segment_cells
from tubelet.errors import DataError
from tubelet.tasks.class_scores import class_scores
from tubelet.tasks.metric import Metric, Place
from tubelet.tasks.single_label import SingleLabel

COMPARED = SingleLabel  # the task that arms are compared on
PLACES: tuple[Place, ...] = ("comparison", "study")  # whose metrics are kept of each run


TestItem = tuple[str, str, str]  # what it is called, and start and end of a segment


@dataclass(frozen=True, kw_only=True)
class ItemScores:
    """The scores of one run on every test item."""

    names: tuple[str, ...]  # paths of the items
    items: tuple[TestItem, ...]  # what tells one from another
    classes: tuple[str, ...]
    labels: Int[np.ndarray, " N"]
    probs: Float[np.ndarray, "N K"]


def read_scores(file: Path) -> ItemScores:
    """The ``scores.csv`` of an evaluation with one head (``tubelet.evaluation.scores``).

    Raises:
        DataError: another kind of table.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    if header[3:5] != ["label", "predicted"]:
        raise DataError(f"{file}: expected scores of one head, found the columns {', '.join(header)}")
    classes = tuple(header[5:])
    return ItemScores(
        names=tuple(row[0] for row in rows),
        items=tuple((_called(row[0]), row[1], row[2]) for row in rows),
        classes=classes,
        labels=np.array([classes.index(row[3]) for row in rows]),
        probs=np.array([[float(cell) for cell in row[5:]] for row in rows]),
    )


def item_of(row: Sample) -> TestItem:
    """What a row of a manifest is known by, as ``read_scores`` knows it."""
    return _called(row_path(row)), *segment_cells(row)


def _called(path: str) -> str:
    """The same in a file of larger volumes and in a folder of prepared videos, which add ``.mp4`` to other endings."""
    return path.partition(".npz:")[2] or path.removesuffix(".mp4")


def on_common_items(runs: Sequence[ItemScores]) -> list[ItemScores]:
    """The scores of the items that every run has: a video that could not be read in one run has none there.

    Raises:
        DataError: there are none.
    """
    common = set.intersection(*(set(run.items) for run in runs))
    if not common:
        raise DataError("no test item was read in all runs: look at unreadable.csv below evaluation/test of each run")
    return [run if len(run.items) == len(common) else _of_items(run, common) for run in runs]


def _of_items(run: ItemScores, kept: set[TestItem]) -> ItemScores:
    rows = [row for row, item in enumerate(run.items) if item in kept]
    names, items = tuple(run.names[row] for row in rows), tuple(run.items[row] for row in rows)
    return ItemScores(names=names, items=items, classes=run.classes, labels=run.labels[rows], probs=run.probs[rows])


def kept_metrics() -> dict[str, Metric]:
    """What is kept of each run, and what a comparison may judge, by their keys."""
    return {metric.key: metric for place in PLACES for metric in COMPARED.columns(place)}


def difference_name(metric: str) -> str:
    """What a difference is of, in sentences and notes."""
    is_lower_better = COMPARED.decisive(metric).is_lower_better
    return (
        f"test {metric} (lower is better; positive where the first is lower)" if is_lower_better else f"test {metric}"
    )


def resampled_metric(
    runs: list[ItemScores], metric: str, weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, "R S"]:
    """The metric of each run (seed) of one arm on each resampled set; NaN where it is not defined."""
    found = COMPARED.decisive(metric)
    of_run = found.resampled or partial(_set_by_set, found)
    return np.stack([of_run(run.probs, run.labels, weights) for run in runs], axis=1)


def _set_by_set(
    metric: Metric, probs: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """A metric that does not know weights: items are repeated as often as they were drawn."""
    names = [str(i) for i in range(probs.shape[1])]
    values = []
    for row in weights.astype(int):
        drawn = np.repeat(np.arange(len(labels)), row)
        scores = class_scores(torch.from_numpy(probs[drawn]), torch.from_numpy(labels[drawn]), names)
        value = metric.compute(scores)
        values.append(np.nan if value is None else value)
    return np.array(values, dtype=np.float64)
