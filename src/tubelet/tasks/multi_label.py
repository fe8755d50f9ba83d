"""One head whose classes do not exclude each other: a video may have several of them, or none.

Every class is a question of its own: mean average precision (mAP) is the mean over the classes that occur of the area
under the precision-recall curve, not interpolated, as scikit-learn and torchmetrics define it (Charades and
AVA report such a mean). A classifier that knows nothing has a class's share of the videos as its average precision.

    N  videos of a split    B  videos of a part of a batch    K  classes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.agreement import CLEAR_MARGIN, FEW_VIDEOS, MAP_POINTS, Agreement
from tubelet.tasks.class_scores import functional
from tubelet.tasks.classification import Classification
from tubelet.tasks.judgment import Judgment, judge_labels
from tubelet.tasks.metric import Column, Metric, Shown, Values, everywhere
from tubelet.tasks.single_label import RIGHT, SHARE, UNDEFINED_AUROC, auroc_meaning, loss_metric
from tubelet.tasks.task import LOSS
from tubelet.tasks.temperature import label_temperature
from tubelet.types import ClassWeights

LABEL_SEPARATOR = "|"  # between the labels of a video in scores.csv


# What training minimizes


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Mean over videos and classes of the binary cross entropy of each class."""

    label_smoothing: float = 0.0  # draws both answers towards one half
    class_weights: Tensor | None = None  # how much more a video with the class counts; None means that all weigh 1

    def shares(self, targets: Int[Tensor, "B K"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """How much each video of a whole batch counts in the mean."""
        return weight[:, None] / weight[:, None].sum(dim=0).clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B K"], targets: Int[Tensor, "B K"], shares: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the share of the videos whose most likely class is one of theirs."""
        share = shares[:, 0]
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        positive = None if self.class_weights is None else self.class_weights.to(logits.device)
        each = F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=positive, reduction="none").mean(-1)
        best = targets.gather(1, logits.detach().argmax(-1, keepdim=True))[:, 0]
        return (each * share).sum(), (best * share).sum()


def balanced_weights(train: Manifest, head: str) -> Float[Tensor, " K"]:
    """How much more a video with the class counts than one without it, so that both sides of each class count the
    same: videos without / videos with."""
    counts = torch.tensor(list(train.class_counts(head).values()), dtype=torch.float32)
    return ((len(train) - counts) / counts.clamp(min=1)).where(counts > 0, 1.0)


# Its metrics


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """The probabilities of a split and its labels, checked."""

    probs: Float[Tensor, "N K"]  # of each class on its own
    labels: Int[Tensor, "N K"]  # 1 where the video has the class, else 0
    names: Sequence[str]

    @cached_property
    def counts(self) -> Int[Tensor, " K"]:
        """Videos that have each class."""
        return self.labels.sum(0)

    @cached_property
    def precisions(self) -> list[float | None]:
        """Average precision of each class; None where no video has it."""
        precision = functional().binary_average_precision
        return [
            float(precision(self.probs[:, c], self.labels[:, c])) if self.counts[c] else None
            for c in range(len(self.names))
        ]


def mean_average_precision(scores: LabelScores) -> float:
    """Mean over the classes that occur."""
    found = [value for value in scores.precisions if value is not None]
    return sum(found) / len(found)


def auroc(scores: LabelScores) -> float | None:
    """Mean over the classes that some videos have and some have not."""
    areas = [
        float(functional().binary_auroc(scores.probs[:, c], scores.labels[:, c]))
        for c in range(len(scores.names))
        if 0 < int(scores.counts[c]) < len(scores.labels)
    ]
    return sum(areas) / len(areas) if areas else None


def binary_cross_entropy(scores: LabelScores) -> float:
    """Mean over videos and classes."""
    # A float32 sigmoid can round to 0 or 1, whose logarithms are infinite: one rounding step away from both.
    chosen = torch.where(scores.labels > 0, scores.probs, 1 - scores.probs).clamp(
        min=torch.finfo(torch.float32).eps / 2
    )
    return float(-chosen.log().mean())


def prevalence_baseline(scores: LabelScores) -> float:
    """Mean average precision of scores that say nothing: the mean share of videos."""
    return float((scores.counts[scores.counts > 0].double() / len(scores.labels)).mean())


# All of metrics.json, in its order. To add a metric, add it here: it shows in every place that ``shows`` lists, by
# default in all.
METRICS = (
    Metric(key="labels", compute=lambda s: list(s.names), is_required=True),  # in the order of every table here
    Metric(key="num_videos", compute=lambda s: len(s.probs), is_required=True),
    Metric(
        key="mean_average_precision",  # mean of per_class over the classes that occur
        title="mAP",
        unit="%",
        bounds=SHARE,
        compute=mean_average_precision,
        is_of_ranks=True,
        note=lambda values: f"{values['num_videos']:,} videos",
        meaning=lambda values: "mean over classes",
        hub_type="mAP",
        is_required=True,
        shows=everywhere(study=Shown(order=1)),
    ),
    # Average precision of each class; None where no video has it.
    Metric(
        key="per_class",
        compute=lambda s: dict(zip(s.names, s.precisions, strict=True)),
        is_of_ranks=True,
        is_required=True,
    ),
    Metric(
        key="auroc",
        title="AUROC",
        bounds=SHARE,
        compute=auroc,
        is_of_ranks=True,
        meaning=auroc_meaning,
        undefined=UNDEFINED_AUROC,
        hub_type="roc_auc",
        num_classes_needed=2,
        is_required=True,
        shows={
            **{place: shown for place, shown in everywhere().items() if place != "curve"},
            "report": Shown(order=1),
        },
    ),
    loss_metric(binary_cross_entropy),
    Metric(
        key="prevalence_baseline",
        title="prevalence baseline",
        unit="%",
        compute=prevalence_baseline,
        meaning=lambda values: "mAP of scores that say nothing",
        is_required=True,
        shows={"report": Shown(title="Prevalence baseline"), "card": Shown(title="mAP of scores that say nothing")},
    ),
    Metric(
        key="class_counts",  # videos that have each class
        compute=lambda s: dict(zip(s.names, s.counts.tolist(), strict=True)),
        is_required=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Classification):
    """Any number of the classes per video."""

    steps: ClassVar[tuple[Column, ...]] = (LOSS, RIGHT)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "mean_average_precision"
    baseline: ClassVar[str] = "prevalence_baseline"
    warning: ClassVar[str] = "mAP is not above the {baseline} of no knowledge."
    per_class: ClassVar[str] = "Average precision"
    per_class_note: ClassVar[str] = (
        "Area under the precision-recall curve of each class, and the number of videos that have it."
    )
    per_class_is_share: ClassVar[bool] = False

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B K"]:
        """1 where the video has the class."""
        (size,) = self.head_sizes
        has = torch.zeros(len(labels), size, dtype=torch.int64)
        for row, classes in enumerate(labels):
            has[row, list(classes)] = 1
        return has

    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """A sigmoid of each class."""
        return logits.sigmoid()

    def logits_of(self, probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """Logits whose ``probs`` these are; those of 0 and 1 are the largest that float32 tells from infinity."""
        return probs.double().logit(eps=torch.finfo(torch.float32).eps / 2).to(probs.dtype)

    def temperatures(self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N K"]) -> tuple[float, ...]:
        """One for all classes."""
        return (label_temperature(self.logits_of(probs), targets),)

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> BinaryCrossEntropy:
        """Binary cross entropy of each class."""
        (head,) = self.labels
        weights = balanced_weights(train, head) if class_weights == "balanced" else None
        return BinaryCrossEntropy(label_smoothing=label_smoothing, class_weights=weights)

    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N K"], train: Manifest | None = None
    ) -> dict[str, Any]:
        """All metrics of one set of scores."""
        (names,) = self.labels.values()
        return compute_multi_label_metrics(probs, targets, names)

    def agreement(self, probs: Float[Tensor, "N K"], others: Float[Tensor, "N K"]) -> Agreement:
        """As of every task, but it is mean average precision that may not move, with the answers of ``probs`` taken for
        the truth: the classes above one half of each video, and its most likely one. Of few videos one exchanged rank
        moves it by points, so that there no probability may move clearly."""
        found = super().agreement(probs, others)
        (names,) = self.labels.values()
        truth = (probs > 0.5).long().scatter(1, probs.argmax(1, keepdim=True), 1)
        own, other = (
            mean_average_precision(LabelScores(probs=p.double(), labels=truth, names=names)) for p in (probs, others)
        )
        moved, change = float((probs - others).abs().max()), abs(own - other)
        refusal = ""
        if len(probs) < FEW_VIDEOS and moved > CLEAR_MARGIN:
            refusal = (
                f"the probability of a class moves by {moved:.2f} (fewer than {FEW_VIDEOS} videos allow "
                f"{CLEAR_MARGIN}); use fp32, or more videos"
            )
        elif len(probs) >= FEW_VIDEOS and change > MAP_POINTS:
            refusal = (
                f"mean average precision over {len(probs)} videos moves by {100 * change:.2f} points, where "
                f"{100 * MAP_POINTS} are allowed; use fp32"
            )
        return dataclasses.replace(found, refusal=refusal, map_change=change)

    @property
    def label_columns(self) -> list[str]:
        """The labels of the video. Nothing is predicted, for that takes a threshold."""
        return ["label"]

    def label_cells(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[list[str]]:
        """The names of the labels in one cell."""
        (names,) = self.labels.values()
        return [[LABEL_SEPARATOR.join(names[label] for label in of_video)] for of_video in labels]

    def judge(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[Judgment | None]:
        """The classes above one half beside the labels."""
        (names,) = self.labels.values()
        return judge_labels(labels, probs, names)

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What scores reach that say nothing."""
        return f"scores that say nothing give {values['prevalence_baseline']:.1%}"


def compute_multi_label_metrics(
    probs: Float[Tensor, "N K"], labels: Int[Tensor, "N K"], class_names: Sequence[str]
) -> dict[str, Any]:
    """All metrics of one set of scores, as ``metrics.json`` has them.

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
    scores = LabelScores(probs=probs, labels=labels, names=class_names)
    return {metric.key: metric.compute(scores) for metric in MultiLabel.metrics}
