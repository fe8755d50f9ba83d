"""One or more numbers per video, such as a weight, a speed or an ejection fraction.

The model gives each number in standard deviations from its mean over the training videos, so that the loss of numbers
of any size is alike; ``probs`` puts them back. The labels of a manifest are places in tables of the numbers that occur.

    N  videos of a split    B  videos of a part of a batch    K  numbers per video
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.agreement import CLEAR_MARGIN, Agreement
from tubelet.tasks.judgment import Judgment
from tubelet.tasks.metric import Column, Metric, Unit, Values
from tubelet.tasks.number_scores import METRICS, NumberScores, Scales
from tubelet.tasks.video_task import Ranking, VideoTask
from tubelet.types import ClassWeights

LOSS = Column(key="loss", title="Loss", is_lower_better=True)  # squared error in standard deviations
ERROR = Column(key="scaled_error", title="Error (standard deviations)", is_lower_better=True)
UNKNOWN = -1  # the place of a number that is not known


@dataclass(frozen=True, kw_only=True)
class SquaredError:
    """Mean over the known numbers of a batch, in standard deviations."""

    tables: Sequence[Tensor]  # of each number, what the targets are places in, in these units; lengths differ

    def shares(self, targets: Int[Tensor, "B K"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """How much each video of a whole batch counts: its known numbers over those of all."""
        known = (targets != UNKNOWN).sum(dim=1) * weight  # B
        return known[:, None] / known.sum().clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B K"], targets: Int[Tensor, "B K"], shares: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The squared error, and the absolute one."""
        known = (targets != UNKNOWN).to(logits.dtype)
        share = shares * known / known.sum(dim=1, keepdim=True).clamp(min=1)  # B K
        wanted = looked_up(self.tables, targets).to(logits)
        error = torch.where(known > 0, logits - wanted, 0.0)
        return (error.square() * share).sum(), (error.detach().abs() * share).sum()


def looked_up(tables: Sequence[Tensor], targets: Int[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """The numbers at these places; NaN where they are not known."""
    columns = []
    for table, places in zip(tables, targets.unbind(dim=1), strict=True):
        whole = table if len(table) else table.new_full((1,), torch.nan)  # the data know none of this number
        found = whole.to(places.device)[places.clamp(min=0)]
        columns.append(torch.where(places == UNKNOWN, torch.nan, found))
    return torch.stack(columns, dim=1)


@dataclass(frozen=True, kw_only=True)
class Regression(VideoTask):
    """Numbers; ``labels`` has a head for each, whose only class has its name."""

    scales: Scales  # of the training videos
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of the data, as ``Manifest.class_names``

    steps: ClassVar[tuple[Column, ...]] = (LOSS, ERROR)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "r2"
    baseline: ClassVar[str] = "mean_predictor_r2"
    warning: ClassVar[str] = "R² is not above that of the mean over the training videos, {baseline}."
    per_class: ClassVar[str] = "Mean absolute error"
    per_class_note: ClassVar[str] = (
        "Of each number in the unit of its labels, and the videos where it is known. metrics.json has R² of each, and "
        "the error of the mean over the training videos."
    )
    per_class_unit: ClassVar[Unit] = ""
    is_calibrated: ClassVar[bool] = False

    @classmethod
    def of_data(cls, manifest: Manifest, scales: Scales = ()) -> Regression:
        """The task of a set of data.

        Args:
            scales: of a model. Empty means those of the training rows.
        """
        tables = manifest.class_names
        labels = {name: (name,) for name in tables}
        return cls(labels=labels, scales=scales or scales_of(manifest.split("train")), tables=tables)

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers, in logit order."""
        return tuple(self.labels)

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B K"]:
        """Places in the tables."""
        return torch.tensor(labels, dtype=torch.int64).reshape(len(labels), len(self.labels))

    def numbers(self, labels: Sequence[tuple[int, ...]]) -> Float[Tensor, "B K"]:
        """The numbers of videos in the unit of the labels; NaN where one is not known."""
        return self._values(self.targets(labels)).float()

    def _values(self, targets: Int[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        tables = [torch.tensor([float(text) for text in self.tables[name]], dtype=torch.float64) for name in self.names]
        return looked_up(tables, targets.reshape(len(targets), -1).cpu())

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> SquaredError:
        """The squared error; recipes refuse what classes alone have."""
        tables = []
        for name, (mean, deviation) in zip(self.names, self.scales, strict=True):
            known = torch.tensor([float(text) for text in train.class_names[name]], dtype=torch.float64)
            tables.append(((known - mean) / deviation).float())
        return SquaredError(tables=tables)

    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N K"], train: Manifest | None = None
    ) -> dict[str, Any]:
        """All metrics of one set of numbers."""
        truth = self._values(targets)
        if not len(probs) or truth.isnan().all():
            raise DataError(f"metrics need a video with a number: got {len(probs)} videos without any")
        scores = NumberScores(names=self.names, values=probs.detach().double().cpu(), truth=truth, scales=self.scales)
        return {metric.key: metric.compute(scores) for metric in METRICS}

    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """The numbers, in the unit of the labels."""
        mean, deviation = (logits.new_tensor([scale[place] for scale in self.scales]) for place in (0, 1))
        return logits * deviation + mean

    def logits_of(self, probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """The numbers in standard deviations from the mean."""
        mean, deviation = (probs.new_tensor([scale[place] for scale in self.scales]) for place in (0, 1))
        return (probs - mean) / deviation

    def agreement(self, probs: Float[Tensor, "N K"], others: Float[Tensor, "N K"]) -> Agreement:
        """No number may move by more than a tenth of its standard deviation over the training videos."""
        moved = (self.logits_of(probs) - self.logits_of(others)).abs().amax(1)  # N
        largest, equal = float(moved.max()), int((moved <= CLEAR_MARGIN).sum())
        refusal = ""
        if equal < len(moved):
            refusal = (
                f"a number moves by {largest:.2f} of its standard deviation, where {CLEAR_MARGIN} is allowed; use fp32"
            )
        return Agreement(num_videos=len(moved), num_equal=equal, largest_margin=largest, refusal=refusal)

    def tempered(self, logits: Float[Tensor, "*B K"], temperatures: Sequence[float]) -> Float[Tensor, "*B K"]:
        """As they are: numbers have no temperature."""
        return logits

    def temperatures(self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N K"]) -> tuple[float, ...]:
        """None: numbers have no temperature."""
        return ()

    def rank(self, probs: Float[Tensor, " K"], top_k: int | None = None) -> Ranking:
        """The numbers by their names, in logit order; ``top_k`` leaves none out."""
        return Ranking(labels=self.names, probs=tuple(probs.tolist()), heads={}, kind="value")

    @property
    def class_columns(self) -> list[str]:
        """What the model says."""
        return [f"{name}_predicted" for name in self.names]

    @property
    def label_columns(self) -> list[str]:
        """What is true."""
        return list(self.names)

    def label_cells(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[list[str]]:
        """The numbers of the data; empty where one is not known."""
        return [
            [
                "" if place == UNKNOWN else self.tables[name][place]
                for name, place in zip(self.names, of_video, strict=True)
            ]
            for of_video in labels
        ]

    def judge(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[Judgment | None]:
        """None: a number is nearer or farther, not wrong."""
        return [None] * len(labels)

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What the mean predictor reaches."""
        return f"the mean over the training videos has an R² of {values['mean_predictor_r2']:.3f}"


def scales_of(train: Manifest) -> Scales:
    """Mean and standard deviation of each number over the training rows; the deviation is 1 where all are equal.

    Raises:
        DataError: a number is known of no training row.
    """
    scales = []
    for place, (name, table) in enumerate(train.class_names.items()):
        known = [float(table[sample.labels[place]]) for sample in train.samples if sample.labels[place] != UNKNOWN]
        if not known:
            raise DataError(f"{train.root}: no training row has a number in column '{name}'")
        if min(known) == max(known):  # a rounded mean would leave a tiny deviation, by which all is divided
            scales.append((known[0], 1.0))
            continue
        values = torch.tensor(known, dtype=torch.float64)
        scales.append((float(values.mean()), float(values.std(correction=0))))
    return tuple(scales)
