"""The numbers that say how good a classifier is, from its probabilities on a set of videos.

Axis letters: N videos, K classes. Everything is computed in double precision on the CPU, so that the numbers do
not depend on where the model ran. Definitions: top-k accuracy as in ILSVRC; mean-class accuracy = the mean of
per-class recalls; expected calibration error with 15 equal bins over the top probability (Guo et al. 2017,
arXiv:1706.04599); AUROC as the probability that a positive scores above a negative, ties counting one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from tubelet import config
from tubelet.errors import DataError

CALIBRATION_BINS = 15


class PlainData:
    """What all kinds of metrics can do."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain: dict[str, Any] = config.to_dict(self)
        return plain


class OneAnswer(PlainData):
    """Metrics of classifiers that give one answer, which may be measured by always giving the same one."""

    majority_label: str
    majority_baseline: float

    @property
    def baseline(self) -> str:
        """What a classifier that knows nothing reaches."""
        return f"always '{self.majority_label}' gives {self.majority_baseline:.1%}"


@dataclass(frozen=True, kw_only=True)
class Metrics(OneAnswer):
    """What ``metrics.json`` says about one set of scores. Accuracies are shares in [0, 1]."""

    labels: tuple[str, ...]  # class names, in the order of every table here
    num_videos: int
    top1: float
    top5: float  # the true class is among the ``top5_k`` best
    top5_k: int  # 5, or the number of classes when there are fewer
    mean_class: float  # mean of per_class over the classes that occur
    per_class: dict[str, float | None]  # recall of each class; None where no video has it
    auroc: float | None  # of class 1 when there are two, else macro one-vs-rest; None when undefined
    calibration_error: float  # expected calibration error, 15 bins
    loss: float  # mean negative log-likelihood in nats
    majority_baseline: float  # accuracy of always answering majority_label
    majority_label: str
    majority_source: Literal["train", "evaluated"]  # where the most frequent class was counted
    confusion: tuple[tuple[int, ...], ...]  # videos; rows are the true class, columns the predicted one
    class_counts: dict[str, int]  # videos of each class

    @property
    def figures(self) -> dict[str, float | None]:
        """The headline numbers by the name they are shown under."""
        return {"top-1": self.top1, "mean class": self.mean_class, "AUROC": self.auroc}

    @property
    def headline(self) -> str:
        auroc = "" if self.auroc is None else f", AUROC {self.auroc:.3f}"
        return f"top-1 {self.top1:.1%}, top-{self.top5_k} {self.top5:.1%}, mean class {self.mean_class:.1%}{auroc}"


def compute_metrics(
    probs: Float[Tensor, "N K"],
    labels: Int[Tensor, " N"],
    class_names: Sequence[str],
    k: int = 5,
    train_class_counts: Sequence[int] | None = None,
) -> Metrics:
    """All metrics of one set of scores.

    Args:
        probs: probabilities; every row sums to 1.
        labels: index of the true class of each video.
        class_names: K distinct names, in the order of the columns.
        k: the k of top-k, clamped to K.
        train_class_counts: training videos of each class. The majority baseline answers their most frequent
            class, as a model could; without them it answers that of ``labels``.

    Raises:
        DataError: no videos, fewer than two classes, names or labels that do not fit the columns, or scores that
            are not probabilities.
    """
    probs, labels = probs.detach().double().cpu(), labels.cpu().long()
    _check(probs, labels, class_names, train_class_counts)
    num_videos, num_classes = probs.shape
    k = min(k, num_classes)
    confusion = multiclass_confusion_matrix(probs, labels, num_classes)
    counts = confusion.sum(dim=1)
    recalls = confusion.diagonal().double() / counts  # 0 / 0 is NaN: a class that does not occur
    most_frequent = int((counts if train_class_counts is None else torch.tensor(train_class_counts)).argmax())
    return Metrics(
        labels=tuple(class_names),
        num_videos=num_videos,
        top1=float(confusion.diagonal().sum()) / num_videos,
        top5=float(multiclass_accuracy(probs, labels, num_classes, average="micro", top_k=k)),
        top5_k=k,
        mean_class=float(recalls.nanmean()),
        per_class={
            name: float(recall) if count else None
            for name, recall, count in zip(class_names, recalls, counts, strict=True)
        },
        auroc=_auroc(probs, labels),
        calibration_error=_calibration_error(probs, labels),
        loss=_negative_log_likelihood(probs, labels),
        majority_baseline=float(counts[most_frequent]) / num_videos,
        majority_label=class_names[most_frequent],
        majority_source="evaluated" if train_class_counts is None else "train",
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        class_counts=dict(zip(class_names, counts.tolist(), strict=True)),
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


def _auroc(probs: Tensor, labels: Tensor) -> float | None:
    """Score of class 1 when there are two classes, else the mean over the classes that have both sides."""
    num_classes = probs.shape[1]
    areas = [
        float(binary_auroc(probs[:, c], (labels == c).long()))
        for c in ([1] if num_classes == 2 else range(num_classes))
        if 0 < int((labels == c).sum()) < len(labels)
    ]
    return sum(areas) / len(areas) if areas else None


def _calibration_error(probs: Tensor, labels: Tensor) -> float:
    # torchmetrics bins in float32 and would give a score of exactly 1 a sixteenth bin; one rounding step below 1
    # keeps it in the last.
    clamped = probs.clamp(max=1 - 2**-24)
    return float(multiclass_calibration_error(clamped, labels, probs.shape[1], n_bins=CALIBRATION_BINS))


def _negative_log_likelihood(probs: Tensor, labels: Tensor) -> float:
    # A float32 softmax can underflow to 0, whose logarithm is infinite: the smallest normal float32 stands for it.
    chosen = probs.gather(1, labels[:, None]).clamp(min=torch.finfo(torch.float32).tiny)
    return float(-chosen.log().mean())
