"""What the report says about one run, as rows and cells: headline facts, confusion matrix, per-class accuracy.

K classes. The page only lays these values out; every number is made here from the run's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tubelet.report import numbers
from tubelet.report.read import Run, heads_of, is_multi_label

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

    head: str  # empty where there is one
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
    if is_multi_label(m):
        return [*_precision_facts(m), *_videos_facts(m), *shape]
    low, high = numbers.wilson_interval(m["top1"], m["num_videos"])
    right = round(m["top1"] * m["num_videos"])
    interval = f"95{numbers.SPACE}% interval {100 * low:.1f} to {numbers.percent(high)}"
    videos = f"{right:,} of {numbers.count(m['num_videos'], 'video')} right; {interval}"
    several = "heads" in m
    top5 = Fact(f"Top-{m['top5_k']}", numbers.percent(m["top5"]))
    return [
        Fact("Top-1", numbers.percent(m["top1"]), videos, "of actions: every head is right" if several else ""),
        *([top5] if several or m["top5_k"] < len(m["labels"]) else []),
        *(fact for head, of_head in m.get("heads", {}).items() for fact in _head_facts(head, of_head)),
        Fact("Mean class", numbers.percent(m["mean_class"]), "", "mean of the per-class accuracies"),
        *([] if several else [_auroc(m)]),
        Fact("Calibration error", numbers.percent(m["calibration_error"]), "", "mean gap of confidence and accuracy"),
        Fact("Majority baseline", numbers.percent(m["majority_baseline"]), f"always “{m['majority_label']}”"),
        *_videos_facts(m),
        *shape,
    ]


def _head_facts(head: str, m: Mapping[str, Any]) -> Iterator[Fact]:
    """Accuracies of one of several heads."""
    always = f"always “{m['majority_label']}” reaches {numbers.percent(m['majority_baseline'])}"
    yield Fact(f"Top-1 of {head}", numbers.percent(m["top1"]), f"{numbers.count(m['num_videos'], 'video')}; {always}")
    if m["top5_k"] < len(m["labels"]):
        yield Fact(f"Top-{m['top5_k']} of {head}", numbers.percent(m["top5"]))


def _precision_facts(m: Mapping[str, Any]) -> Iterator[Fact]:
    """Where a video may have several labels."""
    nothing = numbers.percent(m["prevalence_baseline"])
    yield Fact("mAP", numbers.percent(m["mean_average_precision"]), f"{m['num_videos']:,} videos", "mean over classes")
    yield Fact("Prevalence baseline", nothing, "", "mAP of scores that say nothing")
    yield _auroc(m)


def _videos_facts(m: Mapping[str, Any]) -> Iterator[Fact]:
    views = f"{m['split']} split, {m['averaging']} averaged"
    yield Fact("Views", m["views"], views, "temporal clips x spatial crops")
    yield Fact("Failed files", numbers.count(m["num_failed"]), "", "not among the videos counted")


def training_time(run: Run) -> Fact:
    """Time from the first step to the last, validation included, and the share of a step spent waiting for data."""
    if not run.log.get("step"):
        return Fact("Training time", "–", "not logged")
    steps = numbers.count(int(run.log["step"][-1]), "step")
    waiting = numbers.percent(float(np.nanmean(run.log["wait_share"])))
    return Fact("Training time", numbers.duration(run.log["seconds"][-1]), f"{steps}, {waiting} waiting for data")


def warnings(runs: Sequence[Run]) -> Iterator[str]:
    """What stands between the headline and a right conclusion."""
    for run in runs:
        if run.unread:
            yield (
                f"{run.name}: trained without {numbers.count(len(run.unread), 'video')} that could not be read; see "
                "Failed files."
            )
    evaluated = [run for run in runs if run.metrics is not None]
    for run in evaluated:
        m: Mapping[str, Any] = run.metrics or {}
        if is_multi_label(m):
            if m["mean_average_precision"] <= m["prevalence_baseline"]:
                yield f"{run.name}: mAP is not above the {numbers.percent(m['prevalence_baseline'])} of no knowledge."
        elif m["top1"] <= m["majority_baseline"]:
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
        values = {run.name: _comparable(run.metrics or {}, key) for run in evaluated}
        if len({str(value) for value in values.values()}) > 1:
            listed = "" if key == "labels" else ": " + ", ".join(f"{name} {value}" for name, value in values.items())
            yield f"These runs differ in their {what}{listed}. Their accuracies are not directly comparable."


def _comparable(metrics: Mapping[str, Any], key: str) -> Any:
    if key == "labels":
        return [(head, of_head["labels"]) for head, of_head in heads_of(metrics).items()]
    return metrics[key]


def confusions(run: Run) -> list[Confusion]:
    """The matrix of each head; none where there are no metrics, or where classes do not exclude each other."""
    if run.metrics is None or is_multi_label(run.metrics):
        return []
    return [confusion(of_head, head) for head, of_head in heads_of(run.metrics).items()]


def confusion(metrics: Mapping[str, Any], head: str = "") -> Confusion:
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
        head=head,
        labels=labels,
        rows=rows if len(labels) <= MAX_MATRIX_CLASSES else [],
        is_wide=len(labels) <= MAX_WIDE_CELLS,
        mistakes=mistakes[:MAX_CONFUSIONS],
        num_mistakes=sum(mistake[2] for mistake in mistakes),
    )


def per_class(runs: Sequence[Run]) -> list[tuple[str, list[tuple[int, float | None] | None]]]:
    """For each class, of several heads as ``head: class``: for each run (videos, accuracy or None), or None where the
    run does not have the class. Where a video may have several labels, average precision stands for accuracy."""
    columns = [
        {
            f"{head}: {label}" if head else label: (of_head["class_counts"][label], value)
            for head, of_head in heads_of(run.metrics).items()
            for label, value in of_head["per_class"].items()
        }
        if run.metrics
        else {}
        for run in runs
    ]
    labels = dict.fromkeys(label for column in columns for label in column)
    return [(label, [column.get(label) for column in columns]) for label in labels]


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
