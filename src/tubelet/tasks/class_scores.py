"""The scores of one head on a split, and the metrics that are computed from them.

Top-k accuracy is that of ILSVRC; mean-class accuracy is the mean of per-class recalls; the expected calibration error
has 15 equal bins over the top probability (Guo et al. 2017, arXiv:1706.04599); AUROC is the probability that a positive
scores above a negative, ties counting one half. Metrics are computed in double precision on the CPU, so that they do
not depend on where the model ran.

    N  videos of a split    K  classes    R  resampled test sets
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.errors import DataError

CALIBRATION_BINS = 15


def functional() -> Any:
    """torchmetrics' functions on scores of classes.

    They are imported where a split is measured, because importing torchmetrics imports transformers where that is
    installed, which takes seconds of every command that measures nothing.
    """
    from torchmetrics.functional import classification

    return classification


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """The probabilities of a split and its labels, checked."""

    probs: Float[Tensor, "N K"]
    labels: Int[Tensor, " N"]
    names: Sequence[str]
    k: int  # of top-k
    train_class_counts: Sequence[int] | None = None

    @property
    def num_videos(self) -> int:
        return len(self.probs)

    @cached_property
    def confusion(self) -> Int[Tensor, "K K"]:
        """Videos; rows are the true class, columns the predicted one."""
        matrix: Tensor = functional().multiclass_confusion_matrix(self.probs, self.labels, len(self.names))
        return matrix

    @cached_property
    def counts(self) -> Int[Tensor, " K"]:
        """Videos of each class."""
        return self.confusion.sum(dim=1)

    @cached_property
    def recalls(self) -> Float[Tensor, " K"]:
        """Of each class; NaN where it has no video."""
        return self.confusion.diagonal().double() / self.counts

    @cached_property
    def most_frequent(self) -> int:
        """The class that a model without knowledge answers."""
        trained = self.train_class_counts
        return int((self.counts if trained is None else torch.tensor(trained)).argmax())


def top1(scores: ClassScores) -> float:
    return float(scores.confusion.diagonal().sum()) / scores.num_videos


def top5(scores: ClassScores) -> float:
    num_classes = len(scores.names)
    accuracy = functional().multiclass_accuracy
    return float(accuracy(scores.probs, scores.labels, num_classes, average="micro", top_k=scores.k))


def per_class(scores: ClassScores) -> dict[str, float | None]:
    found = zip(scores.names, scores.recalls, scores.counts, strict=True)
    return {name: float(recall) if count else None for name, recall, count in found}


def auroc(scores: ClassScores) -> float | None:
    """Of class 1 when there are two classes, else the mean over the classes that have both sides."""
    num_classes = len(scores.names)
    areas = [
        float(functional().binary_auroc(scores.probs[:, c], (scores.labels == c).long()))
        for c in ([1] if num_classes == 2 else range(num_classes))
        if 0 < int((scores.labels == c).sum()) < scores.num_videos
    ]
    return sum(areas) / len(areas) if areas else None


def calibration_error(scores: ClassScores) -> float:
    # torchmetrics bins in float32 and would give a score of exactly 1 a sixteenth bin; one rounding step below 1
    # keeps it in the last.
    clamped = scores.probs.clamp(max=1 - 2**-24)
    error = functional().multiclass_calibration_error
    return float(error(clamped, scores.labels, len(scores.names), n_bins=CALIBRATION_BINS))


def negative_log_likelihood(scores: ClassScores) -> float:
    # A float32 softmax can underflow to 0, whose logarithm is infinite: the smallest normal float32 stands for it.
    chosen = scores.probs.gather(1, scores.labels[:, None]).clamp(min=torch.finfo(torch.float32).tiny)
    return float(-chosen.log().mean())


def majority_baseline(scores: ClassScores) -> float:
    return float(scores.counts[scores.most_frequent]) / scores.num_videos


def class_scores(
    probs: Float[Tensor, "N K"],
    labels: Int[Tensor, " N"],
    class_names: Sequence[str],
    k: int = 5,
    train_class_counts: Sequence[int] | None = None,
) -> ClassScores:
    """The scores of one head, checked.

    Args:
        probs: probabilities; every row sums to 1.
        labels: index of the true class of each video.
        class_names: K distinct names, in the order of the columns.
        k: the k of top-k, clamped to K.
        train_class_counts: training videos of each class. The majority baseline answers their most frequent
            class, as a model could. None means that it answers that of ``labels``.

    Raises:
        DataError: no videos, fewer than two classes, names or labels that do not fit the columns, or scores that
            are not probabilities.
    """
    probs, labels = probs.detach().double().cpu(), labels.cpu().long()
    _check(probs, labels, class_names, train_class_counts)
    return ClassScores(
        probs=probs,
        labels=labels,
        names=class_names,
        k=min(k, probs.shape[1]),
        train_class_counts=train_class_counts,
    )


def _check(probs: Tensor, labels: Tensor, names: Sequence[str], train_class_counts: Sequence[int] | None) -> None:
    num_videos, num_classes = probs.shape
    if num_videos == 0:
        raise DataError("no videos to compute metrics from: expected at least one scored video; check the split")
    if num_classes < 2:
        raise DataError(f"metrics need at least 2 classes, got {num_classes} ({', '.join(names)})")
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise DataError(f"expected {num_classes} distinct class names, one per score column, got {list(names)}")
    if train_class_counts is not None and len(train_class_counts) != num_classes:
        raise DataError(f"expected {num_classes} training class counts, one per class, got {len(train_class_counts)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, but the scores have {num_classes} columns "
            f"(0 to {num_classes - 1}); check that the labels are those of the model"
        )
    # The tolerance admits half-precision softmax; the negation catches NaN.
    row_sums = probs.sum(dim=1)
    if not bool((probs >= 0).all() and ((row_sums - 1).abs() < 1e-2).all()):
        raise DataError(
            f"scores are not probabilities: expected finite values whose rows sum to 1, got values from "
            f"{float(probs.min()):.4g} to {float(probs.max()):.4g} and row sums from {float(row_sums.min()):.4g} "
            f"to {float(row_sums.max()):.4g}"
        )


def resampled_top1(
    probs: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Top-1 accuracy on resampled test sets, where ``weights`` say how often each video was drawn."""
    right = (probs.argmax(axis=1) == labels).astype(np.float64)
    return weights @ right / weights.sum(axis=1)


def resampled_mean_class(
    probs: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Mean of the per-class accuracies on resampled test sets, over the classes that each of them has."""
    right = probs.argmax(axis=1) == labels
    of_class = labels[:, None] == np.arange(probs.shape[1])  # N K
    counts = weights @ of_class  # R K
    recalls = np.divide(weights @ (of_class & right[:, None]), counts, out=np.zeros_like(counts), where=counts > 0)
    return np.asarray(recalls.sum(axis=1) / (counts > 0).sum(axis=1))


def resampled_auroc(
    probs: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """AUROC on resampled test sets; NaN in a set without both sides of any class."""
    num_classes = probs.shape[1]
    columns = [1] if num_classes == 2 else range(num_classes)
    areas = np.array([_weighted_area(probs[:, c], labels == c, weights) for c in columns])
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
