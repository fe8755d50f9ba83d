"""What is known of a model on a split, whatever its task: the metrics and what they depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tubelet.data.manifest.manifest import Sample
from tubelet.tables import Table
from tubelet.tasks.metric import Cell, Place, Values
from tubelet.tasks.task import Task
from tubelet.types import Precision


@dataclass(frozen=True, kw_only=True)
class MeasuredSplit:
    """The metrics of a model on a split, with the number of videos, the views and the failures they depend on."""

    task: Task
    metrics: Values  # what the task measures, by key
    samples: tuple[Sample, ...]  # the videos that were read, in manifest order
    failed: tuple[str, ...]  # one line per video that could not be read
    views: str  # temporal x spatial, for example 4x3
    averaging: str
    precision: Precision
    split: str
    data_fingerprint: str

    def cells(self, place: Place) -> list[Cell]:
        """The metrics that a place shows."""
        return self.task.cells(place, self.metrics)

    @property
    def num_videos(self) -> int:
        """Videos that the metrics count."""
        number: int = self.metrics["num_videos"]
        return number

    @property
    def baseline(self) -> str:
        """What a model that knows nothing reaches, in one line."""
        return self.task.baseline_text(self.metrics)

    @property
    def seen_text(self) -> str:
        """Which videos the model was trained on, for the summary; empty where that was not looked at."""
        return ""

    @property
    def summary(self) -> str:
        """The metrics with their protocol in one line."""
        return (
            f"{self.split}: {self.task.headline(self.metrics)} "
            f"({self.num_videos} videos{self.seen_text}, {self.views} views, {self.precision}, "
            f"{len(self.failed)} failed; {self.baseline})"
        )

    @property
    def table(self) -> Table:
        """A row per metric."""
        rows = tuple((name, value) for name, value in self.metrics.items() if isinstance(value, int | float))
        return Table(title=self.summary, columns=("metric", "value"), rows=rows)

    def to_dataframe(self) -> Any:
        """The table as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()

    @property
    def conditions(self) -> dict[str, Any]:
        """What ``metrics.json`` holds beside the metrics."""
        return {
            "split": self.split,
            "num_failed": len(self.failed),
            "failed": list(self.failed),
            "views": self.views,
            "averaging": self.averaging,
            "precision": self.precision,
            "data_fingerprint": self.data_fingerprint,
        }

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return {**self.conditions, **self.metrics}
