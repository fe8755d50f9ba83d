"""How good a classifier is whose videos may have several labels each, or none.

Every class is a question of its own: mean average precision (mAP) is the mean over the classes that occur of the area
under the precision-recall curve, not interpolated, as scikit-learn and torchmetrics define it (Charades and
AVA report such a mean). A classifier that knows nothing has a class's share of the videos as its average precision.

    N  videos    K  classes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from tubelet.errors import DataError
from tubelet.tasks.metrics import PlainData


@dataclass(frozen=True, kw_only=True)
class MultiLabelMetrics(PlainData):
    """What ``metrics.json`` says about one set of scores of independent classes."""

    labels: tuple[str, ...]  # class names, in the order of every table here
    num_videos: int
    mean_average_precision: float  # mean of per_class over the classes that occur
    per_class: dict[str, float | None]  # average precision of each class; None where no video has it
    auroc: float | None  # mean over the classes that some videos have and some have not; None where there is none
    loss: float  # binary cross entropy, mean over videos and classes, in nats
    prevalence_baseline: float  # mean average precision of scores that say nothing: the mean share of videos
    class_counts: dict[str, int]  # videos that have each class

    @property
    def figures(self) -> dict[str, float | None]:
        """The headline numbers by the name they are shown under."""
        return {"mAP": self.mean_average_precision, "AUROC": self.auroc}

    @property
    def baseline(self) -> str:
        """What a classifier that knows nothing reaches."""
        return f"scores that say nothing give {self.prevalence_baseline:.1%}"

    @property
    def headline(self) -> str:
        auroc = "" if self.auroc is None else f", AUROC {self.auroc:.3f}"
        return f"mAP {self.mean_average_precision:.1%}{auroc}"


def compute_multi_label_metrics(
    probs: Float[Tensor, "N K"], labels: Int[Tensor, "N K"], class_names: Sequence[str]
) -> MultiLabelMetrics:
    """All metrics of one set of scores.

    Args:
        probs: probability of each class on its own.
        labels: 1 where the video has the class, else 0.
        class_names: K names, in the order of the columns.

    Raises:
        DataError: no videos, no video with any class, or scores that are not probabilities.
    """
    probs, labels = probs.detach().double().cpu(), labels.cpu().long()
    if not len(probs) or not labels.any():
        raise DataError(f"metrics need a video with a label: got {len(probs)} videos and {int(labels.sum())} labels")
    if not bool(((probs >= 0) & (probs <= 1)).all()):  # NaN compares false
        raise DataError("scores are not probabilities: expected finite values from 0 to 1")
    counts = labels.sum(0)
    precisions = [
        float(binary_average_precision(probs[:, c], labels[:, c])) if counts[c] else None
        for c in range(len(class_names))
    ]
    areas = [
        float(binary_auroc(probs[:, c], labels[:, c]))
        for c in range(len(class_names))
        if 0 < int(counts[c]) < len(labels)
    ]
    found = [value for value in precisions if value is not None]
    return MultiLabelMetrics(
        labels=tuple(class_names),
        num_videos=len(probs),
        mean_average_precision=sum(found) / len(found),
        per_class=dict(zip(class_names, precisions, strict=True)),
        auroc=sum(areas) / len(areas) if areas else None,
        loss=_binary_cross_entropy(probs, labels),
        prevalence_baseline=float((counts[counts > 0].double() / len(labels)).mean()),
        class_counts=dict(zip(class_names, counts.tolist(), strict=True)),
    )


def _binary_cross_entropy(probs: Tensor, labels: Tensor) -> float:
    # A float32 sigmoid can round to 0 or 1, whose logarithms are infinite: one rounding step away from both.
    chosen = torch.where(labels > 0, probs, 1 - probs).clamp(min=torch.finfo(torch.float32).eps / 2)
    return float(-chosen.log().mean())
