"""Task: what a model is trained to answer, and how its answers are judged. One file per task implements it.

A task knows what the label of a video is (``targets``), what training minimizes (``objective``), what the scores of a
split are worth (``measure``), and how each of these numbers is called and where it shows (``metrics``, ``columns``).
Training, evaluation, report and studies know no task by name.

    N  videos of a split    B  videos of a part of a batch    K  classes of all heads together    ... targets of a task
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, nearest
from tubelet.tasks.metric import Cell, Column, Metric, Place, Unit, Values, cell_of
from tubelet.types import ClassWeights

LOSS = Column(key="loss", title="Loss", unit="nats", is_lower_better=True)  # every task has it


@runtime_checkable
class Objective(Protocol):
    """What training minimizes, of a part of a batch.

    Mixup and cutmix call it twice for the same logits: with the targets of the clips and their share, and with those of
    their partners and the rest (``tubelet.data.clips.mixing``). Parts of a batch add up to the whole.
    """

    def shares(self, targets: Int[Tensor, "B *targets"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B means"]:
        """How much each video of a whole batch counts in each mean; 0 for one that could not be read."""

    def __call__(
        self, logits: Float[Tensor, "B K"], targets: Int[Tensor, "B *targets"], shares: Float[Tensor, "B means"]
    ) -> tuple[Float[Tensor, ""], ...]:
        """The values of ``Task.steps``, the loss first. They stay on the device."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What the model answers on a set of data."""

    labels: Mapping[str, tuple[str, ...]]  # class names of each head, in the order of the logits

    steps: ClassVar[tuple[Column, ...]]  # what the objective gives at each step, for log.csv and TensorBoard
    metrics: ClassVar[tuple[Metric, ...]]  # all of metrics.json, in its order
    best: ClassVar[str]  # key of the metric that decides where nothing else is asked for
    baseline: ClassVar[str]  # key of what a model that knows nothing reaches in it; empty means that nobody knows
    warning: ClassVar[str] = ""  # of the report where the best metric is no better; may name entries
    has_baseline_curve: ClassVar[bool] = False  # whether curves of the best metric show the baseline
    command: ClassVar[str] = "tubelet predict {checkpoint} CLIP"  # what a trained model is used with
    per_class: ClassVar[str] = ""  # what the metrics have of each class under this key, in words
    per_class_note: ClassVar[str] = ""  # text of the report above the table of it
    per_class_unit: ClassVar[Unit] = "%"  # of its values
    per_class_is_share: ClassVar[bool] = False  # whether a value is a share of the videos counted beside it
    header: ClassVar[tuple[str, ...]] = ()  # columns that validation.csv has in any case, before those of the metrics

    @abstractmethod
    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B *targets"]:
        """What the loader puts into ``Batch.labels`` for the labels of rows of a manifest."""

    @abstractmethod
    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> Objective:
        """What training minimizes.

        Args:
            train: the training rows.
            label_smoothing: share of the target that is spread evenly over the classes.
            class_weights: "balanced" weighs a video the more the rarer its class is.
        """

    @abstractmethod
    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N *targets"], train: Manifest | None = None
    ) -> dict[str, object]:
        """The metrics by their keys, as plain data for JSON.

        Args:
            train: the training rows, for the baseline. None means that the baseline is that of ``targets``.

        Raises:
            DataError: there is nothing to measure, or the scores do not fit.
        """

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a metrics.json is of this task."""
        return cls.best in values

    @classmethod
    def entry(cls, key: str) -> Metric:
        """An entry of metrics.json."""
        return next(metric for metric in cls.metrics if metric.key == key)

    @classmethod
    def columns(cls, place: Place) -> tuple[Metric, ...]:
        """The metrics that show in a place, in the order they have there."""
        found = [metric for metric in cls.metrics if metric.title and place in metric.shows]
        return tuple(sorted(found, key=lambda metric: metric.shows[place].order))

    @classmethod
    def validation_header(cls) -> tuple[str, ...]:
        """The keys of the metrics in validation.csv."""
        return tuple(dict.fromkeys([*cls.header, *(metric.key for metric in cls.columns("validation"))]))

    @classmethod
    def ranked(cls) -> dict[str, Metric]:
        """The metrics that may decide, by their keys."""
        return {metric.key: metric for metric in cls.columns("validation")}

    @classmethod
    def decisive(cls, key: str) -> Metric:
        """The metric that decides between checkpoints, settings or arms.

        Args:
            key: "auto" means ``best``.

        Raises:
            ConfigError: the task has no such metric.
        """
        name, known = cls.best if key == "auto" else key, cls.ranked()
        if name not in known:
            raise ConfigError(
                f"the validation split does not have the metric '{name}'; it has {', '.join(known)}"
                f"{nearest(name, known)}"
            )
        return known[name]

    @classmethod
    def missing_keys(cls, values: Values) -> list[str]:
        """What a metrics.json lacks, whatever version wrote it."""
        return [metric.key for metric in cls.metrics if metric.is_required and metric.key not in values]

    @classmethod
    def parts(cls, values: Values) -> dict[str, Values]:
        """The metrics of each head by its name; of the only one under the name ""."""
        return {"": values}

    @classmethod
    def cells(cls, place: Place, values: Values) -> list[Cell]:
        """What a place shows of a metrics.json."""
        return [cell_of(metric, place, values) for metric in cls.columns(place) if metric.shows[place].when(values)]

    @classmethod
    def headline(cls, values: Values) -> str:
        """The metrics in one line, without those that are not defined."""
        return ", ".join(f"{cell.title} {cell.text}" for cell in cls.cells("summary", values) if cell.text)

    @classmethod
    @abstractmethod
    def baseline_text(cls, values: Values) -> str:
        """What a model that knows nothing reaches, in one line."""
