"""The figures of one encoder over all folds, with intervals.

Each clip is scored by the head of its fold. Shares of right answers and means over clips (accuracy, loss, calibration
error) are those of all clips together. Figures of ranks compare scores with each other, and the heads of several folds
share no scale: they are the mean of what each fold has, as in cross-validation of training (``tubelet.studies.folds``).

    N  clips   K  classes   R  resampled sets
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.evaluation.intervals import LEVEL, group_weights, num_resampled
from tubelet.tasks.classification import Classification
from tubelet.tasks.metric import Values


def fold_metrics(
    task: Classification, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "N K"], folds: Int[np.ndarray, " N"]
) -> Values:
    """The metrics by key, as ``metrics.json`` has them."""
    targets = task.targets(labels)
    pooled = task.measure(probs, targets)
    ranks = {metric.key for metric in task.metrics if metric.is_of_ranks}
    parts = [torch.from_numpy(np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    has_labels = [part for part in parts if any(labels[row] for row in part.tolist())]  # several labels may be none
    of_folds = [task.measure(probs[part], targets[part]) for part in has_labels]
    return {key: _mean([fold[key] for fold in of_folds]) if key in ranks else value for key, value in pooled.items()}


def _mean(values: Sequence[Any]) -> Any:
    """The mean of those that are defined; of tables, entry by entry."""
    if isinstance(values[0], dict):
        return {name: _mean([value[name] for value in values]) for name in values[0]}
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def fold_intervals(
    task: Classification,
    labels: Sequence[tuple[int, ...]],
    probs: Float[Tensor, "N K"],
    folds: Int[np.ndarray, " N"],
    units: Sequence[str],
) -> dict[str, list[float]]:
    """By metric, the 95 % interval over units; of metrics that can be computed on many resampled sets at once.

    A metric whose value is the same in all sets has none, because resampling them shows no spread.
    """
    if len(set(units)) < 2:
        return {}
    weights = group_weights(units, num_resampled(len(units)))  # R N
    scores, targets = probs.double().numpy(), task.targets(labels).numpy()
    found = {}
    for metric in task.columns("seeds"):
        if metric.resampled is None:
            continue
        of = metric.resampled
        values = (
            _over_folds(of, scores, targets, weights, folds) if metric.is_of_ranks else of(scores, targets, weights)
        )
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(values) else (0.0, 0.0)
        if low < high:
            found[metric.key] = [float(low), float(high)]
    return found


def _over_folds(
    resampled: Callable[..., Any],
    scores: Float[np.ndarray, "N K"],
    targets: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, "R N"],
    folds: Int[np.ndarray, " N"],
) -> Float[np.ndarray, " R"]:
    """The mean over folds of a metric of each resampled set, over those of its folds where it is defined."""
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    values = np.array([resampled(scores[part], targets[part], weights[:, part]) for part in parts])
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))
