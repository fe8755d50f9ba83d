"""One head, and each video has one of its classes.

N  videos of a split    B  videos of a part of a batch    K  classes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tubelet.data.loading.loader import class_indices
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.class_scores import (
    auroc,
    calibration_error,
    class_scores,
    majority_baseline,
    negative_log_likelihood,
    per_class,
    resampled_auroc,
    resampled_mean_class,
    resampled_top1,
    top1,
    top5,
)
from tubelet.tasks.classification import Classification
from tubelet.tasks.metric import Column, Metric, Shown, Values, everywhere
from tubelet.tasks.task import LOSS
from tubelet.types import ClassWeights

RIGHT = Column(key="top1", title="Top-1 accuracy", unit="%")  # of a batch; of a mixed clip, the share of its label


def class_loss(
    logits: Float[Tensor, "B K"],
    label: Int[Tensor, " B"],
    share: Float[Tensor, " B"],
    label_smoothing: float = 0.0,
    class_weights: Float[Tensor, " K"] | None = None,
) -> tuple[Float[Tensor, ""], Bool[Tensor, " B"]]:
    """Cross entropy of one head, and which videos are right. A video without a label (-1) takes no part."""
    known = label.clamp(min=0)
    each = F.cross_entropy(logits, known, reduction="none", label_smoothing=label_smoothing)
    weight = share * (label >= 0)
    if class_weights is not None:
        weight = weight * class_weights.to(weight.device)[known]
    return (each * weight).sum(), logits.detach().argmax(-1) == label


def balanced_weights(train: Manifest, head: str) -> Float[Tensor, " K"]:
    """Weights of the classes of a head with which every class that occurs counts the same, and the mean over the
    training videos is 1: videos / (classes x videos of the class)."""
    counts = torch.tensor(list(train.class_counts(head).values()), dtype=torch.float32)
    num_labeled = int(counts.sum())  # a number divided by a tensor rounds otherwise than a tensor by a tensor
    return (num_labeled / ((counts > 0).sum() * counts.clamp(min=1))).where(counts > 0, 1.0)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Mean over the videos of the cross entropy of their class."""

    label_smoothing: float = 0.0  # share of the target that is spread evenly over the classes
    class_weights: Tensor | None = None  # of each class; None means that all weigh 1

    def shares(self, targets: Int[Tensor, " B"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """How much each video of a whole batch counts in the mean."""
        known = (targets >= 0).float()[:, None]
        return weight[:, None] / (weight[:, None] * known).sum(dim=0).clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B K"], targets: Int[Tensor, " B"], shares: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the share of the videos that are right."""
        share = shares[:, 0]
        loss, right = class_loss(logits, targets, share, self.label_smoothing, self.class_weights)
        return loss, (right * share).sum()


def has_ranks_below_k(values: Values) -> bool:
    """Whether there are more classes than k. With fewer, top-k accuracy is always 1."""
    return bool(values["top5_k"] < len(values["labels"]))


def auroc_meaning(values: Values) -> str:
    """What the area is of."""
    labels = values["labels"]
    return f"of “{labels[1]}”" if len(labels) == 2 else "mean over classes, each against the rest"


SHARE = (0.0, 1.0)
UNDEFINED_AUROC = "not defined: all videos are of one class"


def loss_metric(compute: Callable[[Any], float]) -> Metric:
    """The loss that training minimizes, over a split."""
    return Metric(
        key=LOSS.key,
        title="loss",
        unit="nats",
        is_lower_better=True,
        compute=compute,
        is_required=True,
        shows={
            "validation": Shown(),
            "console": Shown(),
            "curve": Shown(title="Loss", order=-1),
            "study": Shown(order=2),
        },
    )


def calibration_metric(title: str, compute: Callable[[Any], float]) -> Metric:
    """The expected calibration error of the best answers."""
    return Metric(
        key="calibration_error",
        title=title,
        is_lower_better=True,
        bounds=SHARE,
        compute=compute,
        meaning=lambda values: "mean gap of confidence and accuracy",
        is_required=True,
        shows={"validation": Shown(), "report": Shown(title="Calibration error", unit="%"), "card": Shown()},
    )


def majority_metric(compute: Callable[[Any], float]) -> Metric:
    """The accuracy of always answering ``majority_label``."""
    return Metric(
        key="majority_baseline",
        title="majority baseline",
        unit="%",
        compute=compute,
        note=lambda values: f"always “{values['majority_label']}”",
        is_required=True,
        shows={"report": Shown(title="Majority baseline"), "card": Shown(title="always '{majority_label}'")},
    )


# All of metrics.json, in its order. To add a metric, add it here: it shows in every place that ``shows`` lists, by
# default in all.
METRICS = (
    Metric(key="labels", compute=lambda s: list(s.names), is_required=True),  # in the order of every table here
    Metric(key="num_videos", compute=lambda s: s.num_videos, is_required=True),
    Metric(
        key="top1",
        title="top-1",
        unit="%",
        bounds=SHARE,
        compute=top1,
        resampled=resampled_top1,
        is_right_answers=True,
        hub_type="accuracy",
        is_required=True,
        shows=everywhere(report=Shown(title="Top-1"), curve=Shown(title="Top-1 accuracy")),
    ),
    Metric(
        key="top5",  # the true class is among the top5_k best
        title="top-{top5_k}",
        unit="%",
        bounds=SHARE,
        compute=top5,
        is_required=True,
        shows={
            "validation": Shown(),
            "summary": Shown(),
            "report": Shown(title="Top-{top5_k}", when=has_ranks_below_k),
            "card": Shown(),
        },
    ),
    # 5, or the number of classes when there are fewer.
    Metric(key="top5_k", compute=lambda s: s.k, is_required=True),
    Metric(
        key="mean_class",  # mean of per_class over the classes that occur
        title="mean class",
        unit="%",
        bounds=SHARE,
        compute=lambda s: float(s.recalls.nanmean()),
        resampled=resampled_mean_class,
        meaning=lambda values: "mean of the per-class accuracies",
        is_required=True,
        shows={
            "validation": Shown(),
            "summary": Shown(),
            "seeds": Shown(),
            "report": Shown(title="Mean class"),
            "card": Shown(title="mean class accuracy"),
            "study": Shown(),
        },
    ),
    # Recall of each class; None where no video has it.
    Metric(key="per_class", compute=per_class, is_required=True),
    Metric(
        key="auroc",  # of class 1 when there are two, else macro one-vs-rest
        title="AUROC",
        bounds=SHARE,
        compute=auroc,
        resampled=resampled_auroc,
        is_of_ranks=True,
        meaning=auroc_meaning,
        undefined=UNDEFINED_AUROC,
        hub_type="roc_auc",
        num_classes_needed=2,
        is_required=True,
        shows={place: shown for place, shown in everywhere().items() if place != "curve"},
    ),
    calibration_metric("calibration error", calibration_error),
    loss_metric(negative_log_likelihood),
    majority_metric(majority_baseline),
    Metric(key="majority_label", compute=lambda s: s.names[s.most_frequent], is_required=True),
    # Where the most frequent class was counted.
    Metric(key="majority_source", compute=lambda s: "evaluated" if s.train_class_counts is None else "train"),
    Metric(key="confusion", compute=lambda s: s.confusion.tolist(), is_required=True),  # true class by predicted one
    Metric(
        key="class_counts",
        compute=lambda s: dict(zip(s.names, s.counts.tolist(), strict=True)),
        is_required=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class SingleLabel(Classification):
    """One class per video."""

    steps: ClassVar[tuple[Column, ...]] = (LOSS, RIGHT)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "top1"
    baseline: ClassVar[str] = "majority_baseline"
    warning: ClassVar[str] = (
        "top-1 {best} is not above the majority baseline: always answering “{majority_label}” reaches {baseline}."
    )
    has_baseline_curve: ClassVar[bool] = True

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, " B"]:
        """The class of each video."""
        return class_indices(labels)

    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """A softmax over the classes."""
        return logits.softmax(-1)

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> CrossEntropy:
        """Cross entropy of the class."""
        (head,) = self.labels
        weights = balanced_weights(train, head) if class_weights == "balanced" else None
        return CrossEntropy(label_smoothing=label_smoothing, class_weights=weights)

    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, " N"], train: Manifest | None = None
    ) -> dict[str, Any]:
        """All metrics of one set of scores. A video without a label is left out."""
        ((head, names),) = self.labels.items()
        known = targets >= 0
        if not known.any():
            raise DataError(f"no video has a label of '{head}': give data with labels of every head of the model")
        counts = None if train is None else list(train.class_counts(next(iter(train.class_names))).values())
        return compute_metrics(probs[known], targets[known], names, train_class_counts=counts)

    @property
    def label_columns(self) -> list[str]:
        """The true class and the best one."""
        return ["label", "predicted"]

    def label_cells(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[list[str]]:
        """The names of the true class, empty where it is not known, and of the best one."""
        (names,) = self.labels.values()
        best = probs.argmax(-1).tolist()
        return [[names[c] if c >= 0 else "", names[i]] for (c,), i in zip(labels, best, strict=True)]

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What a classifier reaches that always gives the same answer."""
        return f"always '{values['majority_label']}' gives {values['majority_baseline']:.1%}"


def compute_metrics(
    probs: Float[Tensor, "N K"],
    labels: Int[Tensor, " N"],
    class_names: Sequence[str],
    k: int = 5,
    train_class_counts: Sequence[int] | None = None,
) -> dict[str, Any]:
    """All metrics of one head, as ``metrics.json`` has them. Arguments and errors are those of ``class_scores``."""
    scores = class_scores(probs, labels, class_names, k, train_class_counts)
    return {metric.key: metric.compute(scores) for metric in SingleLabel.metrics}
