"""Resampled test sets: how much a difference depends on which items happen to be in the test split.

The bootstrap draws test items with replacement (Efron 1979), the same ones for both arms, and takes the metric of every
run on them. Resampled sets are weights: how often each item was drawn.

    N  test items   K  classes   R  resampled sets   S  seeds
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from tubelet.data.manifest.manifest import Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.errors import DataError

Metric = Literal["top1", "auroc"]
NUM_SAMPLES = 2000  # resampled test sets
SEED = 20_240_607  # of the draws, the same for every comparison


Item = tuple[str, str, str]  # what it is called, and start and end of a segment


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one run said about every test item."""

    names: tuple[str, ...]  # paths of the items
    items: tuple[Item, ...]  # what tells one from another
    classes: tuple[str, ...]
    labels: Int[np.ndarray, " N"]
    probs: Float[np.ndarray, "N K"]


def read_scores(file: Path) -> Scores:
    """The ``scores.csv`` of an evaluation with one head (``tubelet.evaluation.scores``).

    Raises:
        DataError: another kind of table.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    if header[3:5] != ["label", "predicted"]:
        raise DataError(f"{file}: expected scores of one head, found the columns {', '.join(header)}")
    classes = tuple(header[5:])
    return Scores(
        names=tuple(row[0] for row in rows),
        items=tuple((_called(row[0]), row[1], row[2]) for row in rows),
        classes=classes,
        labels=np.array([classes.index(row[3]) for row in rows]),
        probs=np.array([[float(cell) for cell in row[5:]] for row in rows]),
    )


def item_of(row: Sample) -> Item:
    """What a row of a manifest is known by, as ``read_scores`` knows it."""
    start, end = ("" if x is None else str(x) for x in (row.start_seconds, row.end_seconds))
    return _called(row_path(row)), start, end


def _called(path: str) -> str:
    """The same in a file of larger volumes and in a folder of prepared videos, which add ``.mp4`` to other endings."""
    return path.partition(".npz:")[2] or path.removesuffix(".mp4")


def on_common_items(runs: Sequence[Scores]) -> list[Scores]:
    """The scores of the items that every run has: a video that could not be read in one run has none there.

    Raises:
        DataError: there are none.
    """
    common = set.intersection(*(set(run.items) for run in runs))
    if not common:
        raise DataError("no test item was read in all runs: look at unreadable.csv below evaluation/test of each run")
    return [run if len(run.items) == len(common) else _of_items(run, common) for run in runs]


def _of_items(run: Scores, kept: set[Item]) -> Scores:
    rows = [row for row, item in enumerate(run.items) if item in kept]
    names, items = tuple(run.names[row] for row in rows), tuple(run.items[row] for row in rows)
    return Scores(names=names, items=items, classes=run.classes, labels=run.labels[rows], probs=run.probs[rows])


def draw_weights(num_items: int, num_samples: int = NUM_SAMPLES) -> Float[np.ndarray, "R N"]:
    """How often each item is in each resampled set."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_samples).astype(np.float64)


def resampled_metric(runs: list[Scores], metric: Metric, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R S"]:
    """The metric of each run (seed) of one arm on each resampled set."""
    of_run = _weighted_top1 if metric == "top1" else _weighted_auroc
    return np.stack([of_run(run, weights) for run in runs], axis=1)


def _weighted_top1(scores: Scores, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    right = (scores.probs.argmax(axis=1) == scores.labels).astype(np.float64)
    return weights @ right / weights.sum(axis=1)


def _weighted_auroc(scores: Scores, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    """Of class 1 when there are two classes, else the mean over classes, as ``evaluation.metrics``."""
    num_classes = len(scores.classes)
    columns = [1] if num_classes == 2 else range(num_classes)
    areas = np.array([_weighted_area(scores.probs[:, c], scores.labels == c, weights) for c in columns])
    with np.errstate(invalid="ignore"):  # no class has both sides: not defined
        return np.asarray(np.nansum(areas, axis=0) / (~np.isnan(areas)).sum(axis=0))


def _weighted_area(
    values: Float[np.ndarray, " N"], positive: np.ndarray, weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Chance that a positive scores above a negative, ties one half, where items count by their weight."""
    order = np.argsort(values, kind="stable")
    values, positive, weights = values[order], positive[order], weights[:, order]
    below = np.pad(np.cumsum(weights * ~positive, axis=1), ((0, 0), (1, 0)))  # R N+1
    first = np.searchsorted(values, values[positive], side="left")
    last = np.searchsorted(values, values[positive], side="right")
    of_positives = weights[:, positive]
    wins = (of_positives * (below[:, first] + below[:, last]) / 2).sum(axis=1)
    pairs = of_positives.sum(axis=1) * below[:, -1]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(pairs > 0, wins / pairs, np.nan))
