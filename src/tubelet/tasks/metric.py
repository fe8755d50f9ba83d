"""A metric and where it shows: its title, its unit, its direction and the tables, lines and files that list it.

A task lists its metrics in one tuple. Whatever shows numbers (log, console, report, model card, sweep, comparison) asks
the task for the columns of its place, so that a metric is added in that tuple and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Values = Mapping[str, Any]  # the content of metrics.json, or that of one head in it

Unit = Literal["%", "nats", ""]  # "%": a share in [0, 1], shown in percent; others are shown with three decimals
Place = Literal[
    "validation",  # validation.csv and TensorBoard
    "console",  # the line after each validation
    "summary",  # the line that ends `tubelet train` and `tubelet evaluate`
    "seeds",  # the table of several seeds
    "report",  # headline and table of a run's report
    "curve",  # curves of a run's report
    "card",  # table of the model card
    "study",  # sweep.csv and comparison.json
    "comparison",  # columns of a comparison's report
]


def _always(values: Values) -> bool:
    return True


def _nothing(values: Values) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a metric shows in one place."""

    title: str = ""  # empty means that of the metric; may name entries of metrics.json: "top-{top5_k}"
    unit: Unit | None = None  # None means that of the metric
    order: int = 0  # lower comes first; metrics of the same order keep that of the task's tuple
    when: Callable[[Values], bool] = _always  # whether it is worth showing for these values


def everywhere(**others: Shown) -> dict[Place, Shown]:
    """All places, some of them in a way of their own."""
    places: tuple[Place, ...] = (
        *("validation", "console", "summary", "seeds", "report", "curve", "card", "study", "comparison"),
    )
    return {place: others.get(place, Shown()) for place in places}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number with a name for programs and one for people."""

    key: str  # in metrics.json, the headers of CSV files, TensorBoard tags and --json
    title: str = ""
    unit: Unit = ""
    is_lower_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Metric(Column):
    """One entry of metrics.json. Without a title it is a table or a count that shows nowhere else."""

    compute: Callable[[Any], Any]  # from the scores of the task, to plain data; None where it is not defined
    shows: Mapping[Place, Shown] = field(default_factory=everywhere)
    bounds: tuple[float, float] = (-math.inf, math.inf)  # values it can have; intervals are cut there
    is_right_answers: bool = False  # a share of videos that are right: the report adds its binomial interval
    is_of_ranks: bool = False  # compares scores of videos with each other: those of several models share no scale
    note: Callable[[Values], str] = _nothing  # text of the report beside the value
    meaning: Callable[[Values], str] = _nothing  # text of the report under the title
    undefined: str = ""  # text of the report where the value is None
    hub_type: str = ""  # type in the metrics of huggingface.co's model index; empty means that it is not in it
    num_classes_needed: int = 1  # with videos; with fewer it is not defined
    # The metric of a single run on many resampled test sets at once: (probs N K, labels N, weights R N) to R values.
    # None means that a comparison computes it set by set.
    resampled: Callable[..., Any] | None = None
    # Whether every version of tubelet wrote it: a metrics.json without it is damaged.
    is_required: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric with its value, as one place shows it."""

    metric: Metric
    title: str
    unit: Unit
    value: float | None
    values: Values  # that it comes from
    head: str = ""  # of several heads, the one it is of

    @property
    def text(self) -> str:
        """``84.4%`` or ``0.844``; empty where the value is not defined."""
        if self.value is None:
            return ""
        return f"{self.value:.1%}" if self.unit == "%" else f"{self.value:.3f}"


def cell_of(metric: Metric, place: Place, values: Values, *, head: str = "", title: str = "") -> Cell:
    """The cell of a metric in a place that shows it.

    Args:
        title: in place of the metric's own.
    """
    shown = metric.shows[place]
    return Cell(
        metric=metric,
        title=(title or shown.title or metric.title).format_map({**values, "head": head}),
        unit=metric.unit if shown.unit is None else shown.unit,
        value=values.get(metric.key),
        values=values,
        head=head,
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
