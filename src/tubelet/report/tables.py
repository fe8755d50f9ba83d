"""What the report says about one run, as rows and cells: headline facts, confusion matrix, per-class accuracy.

K classes. The page only lays these values out; every number is made here from the run's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tubelet.report import numbers
from tubelet.report.read import Run

MAX_MATRIX_CLASSES = 60  # beyond, a matrix cannot be read and only the most frequent confusions are listed
MAX_WIDE_CELLS = 12  # classes up to which a cell has room for a percentage and a count
MAX_CONFUSIONS = 15


@dataclass(frozen=True)
class Fact:
    """One headline number with its unit. ``meaning`` holds for every run, ``note`` for this one."""

    label: str
    value: str
    note: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix. ``share`` is of its row, in [0, 1]."""

    share: float
    count: int
    title: str
    on_diagonal: bool


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one run; ``rows`` is empty where there are too many classes to draw."""

    labels: Sequence[str]
    rows: Sequence[tuple[str, int, Sequence[Cell]]]  # true class, its videos, its cells
    is_wide: bool
    mistakes: Sequence[tuple[str, str, int, int]]  # true, predicted, videos, videos of the true class
    num_mistakes: int


def facts(run: Run) -> list[Fact]:
    """The headline of one run; every run gives the same labels in the same order, but for Top-5."""
    parameters = "–" if run.num_parameters is None else numbers.parameters(run.num_parameters)
    shape = [Fact("Parameters", parameters), training_time(run)]
    if run.metrics is None:
        return [Fact("Top-1", "–", "not evaluated"), *shape]
    m = run.metrics
    low, high = numbers.wilson_interval(m["top1"], m["num_videos"])
    right = round(m["top1"] * m["num_videos"])
    interval = f"95{numbers.SPACE}% interval {100 * low:.1f} to {numbers.percent(high)}"
    videos = f"{right:,} of {numbers.count(m['num_videos'], 'video')} right; {interval}"
    top5 = Fact(f"Top-{m['top5_k']}", numbers.percent(m["top5"]))
    views = f"{m['split']} split, {m['averaging']} averaged"
    return [
        Fact("Top-1", numbers.percent(m["top1"]), videos),
        *([top5] if m["top5_k"] < len(m["labels"]) else []),
        Fact("Mean class", numbers.percent(m["mean_class"]), "", "mean of the per-class accuracies"),
        _auroc(m),
        Fact("Calibration error", numbers.percent(m["calibration_error"]), "", "mean gap of confidence and accuracy"),
        Fact("Majority baseline", numbers.percent(m["majority_baseline"]), f"always “{m['majority_label']}”"),
        Fact("Views", m["views"], views, "temporal clips x spatial crops"),
        Fact("Failed files", numbers.count(m["num_failed"]), "", "not among the videos counted"),
        *shape,
    ]


def training_time(run: Run) -> Fact:
    """Time from the first step to the last, validation included, and the share of a step spent waiting for data."""
    if not run.log.get("step"):
        return Fact("Training time", "–", "not logged")
    steps = numbers.count(int(run.log["step"][-1]), "step")
    waiting = numbers.percent(float(np.nanmean(run.log["wait_share"])))
    return Fact("Training time", numbers.duration(run.log["seconds"][-1]), f"{steps}, {waiting} waiting for data")


def warnings(runs: Sequence[Run]) -> Iterator[str]:
    """What stands between the headline and a right conclusion."""
    evaluated = [run for run in runs if run.metrics is not None]
    for run in evaluated:
        m: Mapping[str, Any] = run.metrics or {}
        if m["top1"] <= m["majority_baseline"]:
            yield (
                f"{run.name}: top-1 {numbers.percent(m['top1'])} is not above the majority baseline: always answering "
                f"“{m['majority_label']}” reaches {numbers.percent(m['majority_baseline'])}."
            )
        if m["num_failed"]:
            yield f"{run.name}: {numbers.count(m['num_failed'], 'file')} failed; see Failed files."
    for key, what in (
        ("split", "split"),
        ("num_videos", "number of videos"),
        ("views", "views"),
        ("labels", "classes"),
    ):
        values = {run.name: (run.metrics or {})[key] for run in evaluated}
        if len({str(value) for value in values.values()}) > 1:
            listed = "" if key == "labels" else ": " + ", ".join(f"{name} {value}" for name, value in values.items())
            yield f"These runs differ in their {what}{listed}. Their accuracies are not directly comparable."


def confusion(metrics: Mapping[str, Any]) -> Confusion:
    """Rows are true classes, columns predicted ones."""
    labels, matrix = metrics["labels"], metrics["confusion"]
    rows, mistakes = [], []
    for i, (true, counts) in enumerate(zip(labels, matrix, strict=True)):
        total = sum(counts)
        cells = []
        for j, (predicted, count) in enumerate(zip(labels, counts, strict=True)):
            share = count / total if total else 0.0
            title = f"true {true}, predicted {predicted}: {count} of {total} ({numbers.percent(share)})"
            cells.append(Cell(share, count, title, i == j))
            if count and i != j:
                mistakes.append((true, predicted, count, total))
        rows.append((true, total, cells))
    mistakes.sort(key=lambda mistake: -mistake[2])
    return Confusion(
        labels=labels,
        rows=rows if len(labels) <= MAX_MATRIX_CLASSES else [],
        is_wide=len(labels) <= MAX_WIDE_CELLS,
        mistakes=mistakes[:MAX_CONFUSIONS],
        num_mistakes=sum(mistake[2] for mistake in mistakes),
    )


def per_class(runs: Sequence[Run]) -> list[tuple[str, list[tuple[int, float | None] | None]]]:
    """For each class: for each run (videos, accuracy or None), or None where the run does not have the class."""
    metrics = [run.metrics or {"per_class": {}, "class_counts": {}} for run in runs]
    labels = dict.fromkeys(label for m in metrics for label in m["per_class"])
    return [
        (
            label,
            [(m["class_counts"][label], m["per_class"][label]) if label in m["per_class"] else None for m in metrics],
        )
        for label in labels
    ]


def flat(data: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain data as (dotted key, text) rows, every value unrounded."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list | tuple):
        yield prefix, ", ".join("none" if value is None else str(value) for value in data) or "none"
    else:
        yield prefix, "none" if data is None or data == {} else str(data)


def _auroc(metrics: Mapping[str, Any]) -> Fact:
    if metrics["auroc"] is None:
        return Fact("AUROC", "–", "not defined: all videos are of one class")
    binary = len(metrics["labels"]) == 2
    meaning = f"of “{metrics['labels'][1]}”" if binary else "mean over classes, each against the rest"
    return Fact("AUROC", numbers.decimal(metrics["auroc"]), "", meaning)
