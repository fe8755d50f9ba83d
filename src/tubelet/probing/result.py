"""What a probe found: figures with intervals over groups, beside chance and the same probe on random weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tubelet.config import to_dict
from tubelet.evaluation.intervals import LEVEL, group_weights
from tubelet.tables import Table
from tubelet.tasks.metric import Values


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One encoder on all folds."""

    name: str
    metrics: Values  # of all clips, each scored by a head that has not seen its fold
    shown: dict[str, float]  # the metrics that tables show, by key
    intervals: dict[str, list[float]]  # by metric, 95 % over groups
    chosen: tuple[str, ...]  # the head of each fold


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the heads that have not seen a clip say of it."""

    path: str
    group: str  # that it belongs to
    label: str
    encoder: str  # the class that the head of the encoder names
    random_weights: str  # and that of the control


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The encoder, the same encoder with random weights, and the difference of the two."""

    metric: str  # that heads are chosen by
    encoder: Arm
    random: Arm
    difference: float  # of the metric, encoder minus random weights
    difference_interval: tuple[float, float] | None  # 95 %, over groups, paired; None where it is no mean over clips
    majority: float | None  # of the metric, what a model that knows nothing reaches
    num_clips: int
    num_groups: int
    failed: tuple[str, ...]
    winner: str
    few_shot: dict[int, dict[str, float]] = field(default_factory=dict)  # by clips per class; of the encoder
    few_shot_random: dict[int, dict[str, float]] = field(default_factory=dict)  # of random weights
    notes: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()  # of every clip; none where clips may have several labels

    @property
    def table(self) -> Table:
        """A row per arm and metric."""
        rows = []
        for arm in (self.encoder, self.random):
            for key, value in arm.shown.items():
                low, high = arm.intervals.get(key, (None, None))
                interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
                rows.append((arm.name, key, value, interval))
        if self.majority is not None:
            rows.append(("knows nothing", self.metric, self.majority, ""))
        what = "clips" if self.num_groups == self.num_clips else "groups"  # each clip is a group of its own
        columns = ("encoder", "metric", "value", f"{LEVEL:.0%} over {what}")
        return Table(title=self.summary, columns=columns, rows=tuple(rows))

    @property
    def summary(self) -> str:
        """The result in one line."""
        value, interval = self.encoder.metrics[self.metric], self.difference_interval
        spread = "" if interval is None else f" ({interval[0]:+.3f} to {interval[1]:+.3f})"
        return (
            f"{self.metric} {value:.3f} of {self.num_clips} clips in {self.num_groups} groups; "
            f"{self.difference:+.3f}{spread} against the same encoder with random weights"
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``probe.json``."""
        arms = {
            name: {"metrics": dict(arm.metrics), "intervals": arm.intervals, "chosen": list(arm.chosen)}
            for name, arm in (("encoder", self.encoder), ("random_weights", self.random))
        }
        return {
            "metric": self.metric,
            "name": self.encoder.name,
            **arms,
            "difference": self.difference,
            "difference_interval": None if self.difference_interval is None else list(self.difference_interval),
            "num_clips": self.num_clips,
            "num_groups": self.num_groups,
            "failed": list(self.failed),
            "winner": self.winner,
            "few_shot": {str(number): values for number, values in self.few_shot.items()},
            "few_shot_random_weights": {str(number): values for number, values in self.few_shot_random.items()},
            "notes": list(self.notes),
            "answers": [to_dict(answer) for answer in self.answers],
        }

    def to_dataframe(self) -> Any:
        """The table as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()


def paired_interval(units: list[str], differences: Float[Tensor, " N"]) -> tuple[float, float]:
    """95 % interval of the mean of per-clip differences: groups are drawn with replacement."""
    weights = group_weights(units)  # R N
    means = (weights @ differences.double().numpy()) / weights.sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
