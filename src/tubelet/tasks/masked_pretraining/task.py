"""Masked pre-training as a task: the target of a clip is its mask, the loss is how badly the hidden pixels are painted.

B  clips   N  clips of a split   M  masked tokens of a clip   Q  those that a mask of the decoder keeps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.masked_pretraining.features import (
    NUM_FOLDS,
    feature_rank,
    feature_spread,
    linear_accuracy,
    neighbor_accuracy,
)
from tubelet.tasks.metric import Column, Metric, Shown, Values
from tubelet.tasks.task import Task
from tubelet.types import ClassWeights

ERROR = Column(key="loss", title="Loss", is_lower_better=True)
COLLAPSED_RANK, COLLAPSED_SPREAD = 1.5, 1e-3  # at or below, features hardly tell clips apart
MARK = "mask_ratio"  # the entry of metrics.json that no other task has


def _of(key: str) -> Any:
    """A figure that was measured beside the loss, or None."""
    return lambda values: values.get(key)


def _neighbors(values: Values) -> str:
    return f"of {values['num_knn_clips']:,} training clips, by the others" if values.get("num_knn_clips") else ""


def _linear(values: Values) -> str:
    return f"of {values['num_knn_clips']:,} training clips, in {NUM_FOLDS} folds" if values.get("num_knn_clips") else ""


METRICS = (
    Metric(key=MARK, compute=_of(MARK), is_required=True),
    Metric(key="num_videos", compute=_of("num_videos"), is_required=True),
    Metric(
        key="loss",
        title="loss",
        is_lower_better=True,
        compute=_of("loss"),
        is_required=True,
        meaning=lambda values: "mean squared error of hidden pixels, masks fixed",
        shows={
            "validation": Shown(),
            "console": Shown(),
            "summary": Shown(),
            "seeds": Shown(),
            "report": Shown(title="Loss"),
            "card": Shown(),
            "curve": Shown(title="Loss", order=-1),
            "study": Shown(order=2),
        },
    ),
    Metric(
        key="constant_baseline",
        title="loss of the mean",
        compute=_of("constant_baseline"),
        meaning=lambda values: "loss of painting every tubelet in its mean color",
        is_required=True,
        shows={"report": Shown(title="Loss of the mean"), "card": Shown()},
    ),
    Metric(
        key="knn_top1",
        title="5-NN top-1",
        unit="%",
        bounds=(0.0, 1.0),
        compute=_of("knn_top1"),
        note=_neighbors,
        undefined="no labels",
        shows={
            "validation": Shown(),
            "console": Shown(),
            "summary": Shown(),
            "report": Shown(title="5-NN top-1"),
            "card": Shown(),
            "curve": Shown(title="5-nearest-neighbor accuracy of training clips"),
        },
    ),
    Metric(
        key="linear_top1",
        title="linear top-1",
        unit="%",
        bounds=(0.0, 1.0),
        compute=_of("linear_top1"),
        note=_linear,
        undefined="no labels",
        shows={
            "validation": Shown(),
            "summary": Shown(),
            "report": Shown(title="Linear top-1"),
            "card": Shown(),
            "curve": Shown(title="Accuracy of a linear head on training clips that it has not seen"),
        },
    ),
    Metric(
        key="feature_rank",
        title="feature rank",
        compute=_of("feature_rank"),
        meaning=lambda values: "directions that the pooled features of validation clips fill",
        undefined="too few clips",
        shows={
            "validation": Shown(),
            "report": Shown(title="Feature rank"),
            "curve": Shown(title="Effective rank of features"),
        },
    ),
    Metric(
        key="feature_spread",
        title="feature spread",
        compute=_of("feature_spread"),
        meaning=lambda values: "deviation of features between clips over their mean length",
        undefined="too few clips",
        shows={"validation": Shown(), "report": Shown(title="Feature spread")},
    ),
    Metric(key="num_knn_clips", compute=_of("num_knn_clips")),
)


@dataclass(frozen=True, kw_only=True)
class MeanError:
    """Mean over the clips of the error that the model gives of each."""

    def shares(self, targets: Int[Tensor, "B MQ"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """How much each clip of a whole batch counts; 0 for one that could not be read."""
        return (weight / weight.sum().clamp(min=1))[:, None]

    def __call__(
        self, logits: Float[Tensor, "B 1"], targets: Int[Tensor, "B MQ"], shares: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, ""]]:
        """The loss; ``logits`` are the errors."""
        return ((logits * shares).sum(),)


@dataclass(frozen=True, kw_only=True)
class MaskedPretraining(Task):
    """Clips without labels, of which ``num_masked`` tokens are hidden; ``labels`` is empty."""

    num_masked: int  # tokens of a clip
    ratio: float  # as the recipe states it
    num_decoded: int = 0  # tokens of a clip that the decoder's mask keeps; 0 means that it has none

    steps: ClassVar[tuple[Column, ...]] = (ERROR,)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "loss"
    baseline: ClassVar[str] = "constant_baseline"
    warning: ClassVar[str] = "the loss is not below that of painting every tubelet in its mean color, {baseline}."
    command: ClassVar[str] = "tubelet train --data LABELED --init {checkpoint} --optim.layer_decay 0.75"

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a metrics.json is of this task: every task has a loss, this one alone a mask."""
        return MARK in values

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B MQ"]:
        """The indices of the masked tokens, then of those that the decoder's mask keeps. A clip that could not be read
        has the first ones, and counts nothing."""
        spare = (*range(self.num_masked), *range(self.num_decoded))
        return torch.tensor([row if len(row) == len(spare) else spare for row in labels], dtype=torch.int64)

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> MeanError:
        """The mean over clips. The arguments are those of tasks with classes; a recipe that sets them is refused."""
        return MeanError()

    def measure(
        self, probs: Float[Tensor, "N 1"], targets: Int[Tensor, "N MQ"], train: Manifest | None = None
    ) -> dict[str, object]:
        """The figures of clips whose errors these are, without those of features."""
        errors: list[float] = probs[:, 0].tolist()
        return self.measured(errors, [1.0] * len(errors), torch.zeros(0, 1))

    def measured(
        self, errors: Sequence[float], constants: Sequence[float], features: Float[Tensor, "N D"]
    ) -> dict[str, object]:
        """All of metrics.json but what labels say.

        Args:
            errors: of painting each clip.
            constants: of painting every tubelet of each clip in its mean color.
            features: of the same clips, pooled.

        Raises:
            DataError: there is no clip.
        """
        if not errors:
            raise DataError("metrics need clips that can be read: got none")
        values = {
            MARK: self.ratio,
            "num_videos": len(errors),
            "loss": sum(errors) / len(errors),
            "constant_baseline": sum(constants) / len(constants),
            "feature_rank": feature_rank(features),
            "feature_spread": feature_spread(features),
        }
        return {metric.key: metric.compute(values) for metric in self.metrics}

    def neighbor_figures(
        self, features: Float[Tensor, "N D"], labels: Sequence[int], groups: Sequence[str | None]
    ) -> dict[str, object]:
        """What labels say of features of training clips: how often the nearest clips, and a linear head on the other
        folds, have the right class."""
        return {
            "knn_top1": neighbor_accuracy(features, labels, groups),
            "linear_top1": linear_accuracy(features, labels, groups),
            "num_knn_clips": len(labels),
        }

    @classmethod
    def collapse(cls, values: Values) -> str:
        """A warning, with its remedy, where features hardly tell clips apart; else empty."""
        rank, spread = values["feature_rank"], values["feature_spread"]
        if rank is None or (rank > COLLAPSED_RANK and spread > COLLAPSED_SPREAD):
            return ""
        return (
            f"features collapse: those of {values['num_videos']} clips fill {rank:.2f} directions and spread by "
            f"{spread:.2g} of their length, so that they hardly tell clips apart; lower optim.lr, lengthen "
            "optim.warmup_epochs, or see whether the clips differ at all (`tubelet data show`)"
        )

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What painting the mean color reaches."""
        return f"painting mean colors gives {values['constant_baseline']:.3f}"
