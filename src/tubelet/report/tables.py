"""The rows and cells of a run's report: headline facts, confusion matrix, accuracy per class.

K classes. The page only lays these values out; every number is made here from the run's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tubelet.report import numbers
from tubelet.report.read import RunFolder
from tubelet.tasks.metric import Cell, Metric, Shown, Unit
from tubelet.tasks.single_label import SingleLabel
from tubelet.tasks.task import Task

MAX_MATRIX_CLASSES = 60  # beyond, a matrix cannot be read and only the most frequent confusions are listed
MAX_WIDE_CELLS = 12  # classes up to which a cell has room for a percentage and a count
MAX_CONFUSIONS = 15
FOLDS = "for cross-validation add --folds 5 to `tubelet train`"


@dataclass(frozen=True)
class Fact:
    """One headline number with its unit. ``meaning`` holds for every run, ``note`` for this one."""

    label: str
    value: str
    note: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class ConfusionCell:
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
    rows: Sequence[tuple[str, int, Sequence[ConfusionCell]]]  # true class, its videos, its cells
    is_wide: bool
    mistakes: Sequence[tuple[str, str, int, int]]  # true, predicted, videos, videos of the true class
    num_mistakes: int


def facts(run: RunFolder) -> list[Fact]:
    """The headline of one run; every run gives the same labels in the same order, but for Top-5."""
    parameters = "–" if run.num_parameters is None else numbers.parameters(run.num_parameters)
    shape = [Fact("Parameters", parameters), training_time(run)]
    title = title_of(run.task.decisive("auto"))
    if run.metrics is None:
        return [Fact(title, "–", "not evaluated"), *shape]
    found = [_fact(cell) for cell in run.task.cells("report", run.metrics)]
    if was_trained_on(run.metrics):
        found = [
            Fact(title, "not measured", f"no clip was held out; {FOLDS}"),
            *(Fact(f"{fact.label} on training clips", fact.value, meaning=fact.meaning) for fact in found),
        ]
    return [*found, *_videos_facts(run.metrics), *_calibration_facts(run), *shape]


def was_trained_on(metrics: Mapping[str, Any]) -> bool:
    """Whether the figures are of the clips that the weights were trained on, and so say nothing about new ones."""
    return bool(metrics["split"] == "train")


def title_of(metric: Metric) -> str:
    """How the report calls a metric."""
    return metric.shows["report"].title or metric.title


def _fact(cell: Cell) -> Fact:
    if cell.value is None:
        return Fact(cell.title, "–", cell.metric.undefined)
    note = _right_answers(cell) if cell.metric.is_right_answers else cell.metric.note(cell.values)
    return Fact(cell.title, text_of(cell.value, cell.unit), note, "" if cell.head else cell.metric.meaning(cell.values))


def text_of(value: float | None, unit: Unit) -> str:
    """A value as a report shows it."""
    return numbers.percent(value) if unit == "%" else numbers.decimal(value)


def _right_answers(cell: Cell) -> str:
    """How many videos a share is of, with its interval; of one of several heads, with its baseline."""
    m, share = cell.values, cell.value or 0.0
    videos = numbers.count(m["num_videos"], "video")
    if cell.head:
        baseline = SingleLabel.entry(SingleLabel.baseline)
        return f"{videos}; {baseline.note(m)} reaches {text_of(m[baseline.key], baseline.unit)}"
    right = f"{round(share * m['num_videos']):,} of {videos} right"
    if "num_groups" not in m:
        low, high = numbers.wilson_interval(share, m["num_videos"])
        return f"{right}; {_interval(low, high)}"
    groups = numbers.count(m["num_groups"], "group")
    bounds = m["intervals"].get(cell.metric.key)
    return f"{right}; {f'{_interval(*bounds)} over' if bounds else 'no interval, of'} {groups}"


def _interval(low: float, high: float) -> str:
    return f"95{numbers.SPACE}% interval {100 * low:.1f} to {numbers.percent(high)}"


def _videos_facts(m: Mapping[str, Any]) -> Iterator[Fact]:
    views = f"{m['split']} split, {m['averaging']} averaged"
    yield Fact("Views", m["views"], views, "temporal clips x spatial crops")
    yield Fact("Failed files", numbers.count(m["num_failed"]), "", "not among the videos counted")


def _calibration_facts(run: RunFolder) -> Iterator[Fact]:
    """What the validation split taught about scores, with figures before and after."""
    metrics = run.metrics or {}
    if found := metrics.get("calibration"):
        values = ", ".join(f"{value:.2f}" for value in found["temperatures"].values()) or "1"
        changes = (_change(run.task.entry(key), found["before"][key], found["after"][key]) for key in found["before"])
        videos = numbers.count(found["num_validation_videos"], "validation video")
        is_learned = any(value != 1 for value in found["temperatures"].values())
        learned = f"learned on {videos}" if is_learned else f"not learned: {videos} are too few"
        yield Fact("Temperature", values, "; ".join(changes), learned)
    if found := metrics.get("rejection"):
        areas = ", ".join(f"{kind} {numbers.decimal(value)}" for kind, value in found["auroc"].items())
        yield Fact(
            "None of these",
            numbers.count(found["num_rejected"], "video"),
            f"AUROC against {areas}",
            f"that --reject would refuse, by {found['score']}; 5{numbers.SPACE}% of validation videos are",
        )


def _change(metric: Metric, before: float, after: float) -> str:
    shown = metric.shows.get("report", Shown())
    unit = metric.unit if shown.unit is None else shown.unit
    return f"{(shown.title or metric.title).lower()} {text_of(before, unit)} before, {text_of(after, unit)} after"


def training_time(run: RunFolder) -> Fact:
    """Time from the first step to the last, validation included, and the share of a step spent waiting for data."""
    if not run.log.get("step"):
        return Fact("Training time", "–", "not logged")
    steps = numbers.count(int(run.log["step"][-1]), "step")
    waiting = numbers.percent(float(np.nanmean(run.log["wait_share"])))
    return Fact("Training time", numbers.duration(run.log["seconds"][-1]), f"{steps}, {waiting} waiting for data")


def warnings(runs: Sequence[RunFolder]) -> Iterator[str]:
    """Facts that keep a reader from a wrong conclusion."""
    for run in runs:
        if run.unread:
            yield (
                f"{run.name}: trained without {numbers.count(len(run.unread), 'video')} that could not be read; see "
                "Failed files."
            )
    evaluated = [run for run in runs if run.metrics is not None]
    for run in evaluated:
        m: Mapping[str, Any] = run.metrics or {}
        if was_trained_on(m):
            yield (
                f"{run.name}: no clip was held out. Every figure, matrix and table below is of the clips that it was "
                f"trained on, and says nothing about new ones; {FOLDS}."
            )
        elif m["split"] == "val":
            yield (
                f"{run.name}: no test clips. The figures are of the validation clips, which also chose the weights, "
                "and so are somewhat too good."
            )
        yield from (f"{run.name}: {line}" for line in _no_better_than_nothing(run.task, m))
        if m["num_failed"]:
            yield f"{run.name}: {numbers.count(m['num_failed'], 'file')} failed; see Failed files."
    for key, what in (
        ("split", "split"),
        ("num_videos", "number of videos"),
        ("views", "views"),
        ("labels", "classes"),
    ):
        if key == "num_videos" and all(run.split_text.startswith("fold ") for run in evaluated):
            continue  # folds are as large as their groups
        values = {run.name: _comparable(run, key) for run in evaluated}
        if len({str(value) for value in values.values()}) > 1:
            listed = "" if key == "labels" else ": " + ", ".join(f"{name} {value}" for name, value in values.items())
            yield f"These runs differ in their {what}{listed}. Their accuracies are not directly comparable."


def _no_better_than_nothing(task: type[Task], m: Mapping[str, Any]) -> Iterator[str]:
    best, baseline = task.decisive("auto"), m.get(task.baseline)
    value = m[best.key]
    if baseline is not None and (value >= baseline if best.is_lower_better else value <= baseline):
        texts = {"best": text_of(value, best.unit), "baseline": text_of(baseline, best.unit)}
        yield task.warning.format_map({**m, **texts})


def _comparable(run: RunFolder, key: str) -> Any:
    metrics = run.metrics or {}
    if key == "labels":
        return [(head, of_head.get("labels")) for head, of_head in run.task.parts(metrics).items()]
    return metrics[key]


def confusions(run: RunFolder) -> list[Confusion]:
    """The matrix of each head that has one. Classes that do not exclude each other have none."""
    parts = {} if run.metrics is None else run.task.parts(run.metrics)
    return [confusion(part, head) for head, part in parts.items() if "confusion" in part]


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
            cells.append(ConfusionCell(share, count, title, i == j))
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


def per_class(runs: Sequence[RunFolder]) -> list[tuple[str, list[tuple[int, float | None] | None]]]:
    """For each class, of several heads as ``head: class``: for each run (videos, accuracy or None), or None where the
    run does not have the class. What stands for accuracy is ``Task.per_class``."""
    columns = [
        {
            f"{head}: {label}" if head else label: (of_head["class_counts"][label], value)
            for head, of_head in run.task.parts(run.metrics).items()
            for label, value in of_head.get("per_class", {}).items()
        }
        if run.metrics
        else {}
        for run in runs
    ]
    labels = dict.fromkeys(label for column in columns for label in column)
    return [(label, [column.get(label) for column in columns]) for label in labels]


def within(share: float, num_videos: int) -> str:
    """The 95 % interval of a share of independent videos, as a text."""
    low, high = numbers.wilson_interval(share, num_videos)
    return f"{100 * low:.1f} to {numbers.percent(high)}"


def flat(data: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested plain data as (dotted key, text) rows, every value unrounded."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list | tuple):
        yield prefix, ", ".join("none" if value is None else str(value) for value in data) or "none"
    else:
        yield prefix, "none" if data is None or data == {} else str(data)
