"""The report of one run or of several side by side: one HTML file that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from tubelet.errors import TubeletError
from tubelet.explain.explanation import Explanation
from tubelet.files import write_atomically
from tubelet.report import numbers, plots, tables
from tubelet.report.film_strip import film_strip, link_to
from tubelet.report.page import is_playable, render_page
from tubelet.report.read import RunFolder, read_run
from tubelet.report.relevance.report_clips import relevance_strip, scale_of_page
from tubelet.report.relevance.scale import Scale
from tubelet.tasks.choose import TASKS
from tubelet.tasks.metric import Column
from tubelet.tasks.task import Task

HARD_CLIPS = (
    "Of each class the clips that are most wrong, then those whose two best answers are closest. The frames are those "
    "of one centered view, as the model gets them; the scores are those of all views."
)


ExampleKind = Literal["", "wrong", "close"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One predicted video to show: its frames and its best classes."""

    title: str
    true_label: str | None  # None where it is not known
    predictions: Sequence[tuple[str, float]]  # (label, probability), best first
    frames: UInt8[np.ndarray, "T H W 3"]
    predicted: str | None = None  # the answer; None means the best class
    kind: ExampleKind = ""  # why it is shown
    group: str = ""  # heading above it and its neighbors
    file: Path | None = None  # to link to
    seconds: tuple[float | None, float | None] = (None, None)  # start and end of a segment of the file
    explanation: Explanation | None = None  # where the model looked, shown below the frames


def write_run_report(
    out: Path, runs: Sequence[Path], *, title: str, examples: Sequence[Example] = (), command: str
) -> Path:
    """Write the report of the run folders ``runs`` to the HTML file ``out`` and return its path.

    Args:
        out: the file to write; its folder is made if missing.
        runs: one or more run folders; several are compared.
        title: heading of the page.
        examples: videos shown as filmstrips with their predictions.
        command: the command line that made the report, to be printed in it.

    Raises:
        TubeletError: no run, a folder that is not a run, or a damaged file in one.
    """
    if not runs:
        raise TubeletError("a report needs at least one run folder, got none")
    read = [_named(read_run(path), index, runs) for index, path in enumerate(runs)]
    facts = [tables.facts(run) for run in read]
    html = render_page(
        "run.html.j2",
        title=title,
        runs=read,
        facts=facts,
        rows=_rows(facts),
        warnings=list(tables.warnings(read)),
        panels=list(_panels(read)),
        group=max(plots.group_size(len(run.log.get("step", ()))) for run in read),
        baseline=_baseline(read),
        baseline_title=_baseline_title(read),
        confusions=[(index, run, matrix) for index, run in enumerate(read) for matrix in tables.confusions(run)],
        task=_task(read),
        is_evaluated=any(run.metrics for run in read),
        classes=tables.per_class(read),
        examples=list(_film_strips(examples, out, read)),
        failed=[(run.name, line) for run in read for line in _failed(run)],
        command=command,
        splits=list(dict.fromkeys(run.split_text for run in read if run.split_text)),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, html)
    return out


def _named(run: RunFolder, index: int, paths: Sequence[Path]) -> RunFolder:
    """The run, with its parent folder in the name where another of the report has the same."""
    if sum(path.resolve().name == run.name for path in paths) == 1:
        return run
    return dataclasses.replace(run, name=f"{paths[index].resolve().parent.name}/{run.name}")


def _rows(facts: Sequence[Sequence[tables.Fact]]) -> list[tuple[str, str, list[tables.Fact | None]]]:
    """Label, meaning and one fact per run, in the order of the run that has most facts."""
    meanings: dict[str, str] = {}
    for fact in (fact for row in sorted(facts, key=len, reverse=True) for fact in row):
        meanings[fact.label] = meanings.get(fact.label) or fact.meaning
    by_label = [{fact.label: fact for fact in row} for row in facts]
    return [(label, meaning, [row.get(label) for row in by_label]) for label, meaning in meanings.items()]


def _panels(runs: Sequence[RunFolder]) -> Iterator[tuple[str, str, Markup]]:
    """Title, description and SVG of each panel that has something to show."""
    baseline = _baseline(runs)
    with_baseline = {run.task.best for run in runs if run.task.has_baseline_curve}
    for column in (*_curves(runs), Column(key="lr", title="Learning rate")):
        name, key, y_label = column.title, column.key, column.unit
        curves = [
            plots.Curve(steps=columns["step"], values=columns[key], series=series, is_validation=is_validation)
            for series, run in enumerate(runs)
            for columns, is_validation in ((run.log, False), (run.validation, True))
            if any(not math.isnan(value) for value in columns.get(key, ()))
        ]
        if curves:
            is_share = y_label == "%"
            level = baseline if key in with_baseline else None
            svg = plots.panel(curves, y_label=y_label, salt=key, share=is_share, baseline=level)
            yield name, _describe(runs, key, is_share, level), Markup(svg)


def _baseline(runs: Sequence[RunFolder]) -> float | None:
    """The majority baseline that all evaluated runs share, if they do."""
    baselines = {_level(run.metrics, run.task) for run in runs if run.metrics}
    return baselines.pop() if len(baselines) == 1 else None


def _baseline_title(runs: Sequence[RunFolder]) -> str:
    task = _task(runs)
    return task.entry(task.baseline).title


def _level(metrics: Mapping[str, Any], task: type[Task]) -> float | None:
    level: float | None = metrics.get(task.baseline) if task.has_baseline_curve else None
    return level


def _curves(runs: Sequence[RunFolder]) -> Iterator[Column]:
    """What is drawn over training steps: values of steps, then metrics that are measured in validations alone."""
    found: dict[str, Column] = {}
    for task in dict.fromkeys(run.task for run in runs):
        metrics = ((metric, metric.shows["curve"].title) for metric in task.columns("curve"))
        of_metrics = (Column(key=m.key, title=title or m.title, unit=m.unit) for m, title in metrics)
        for column in (*task.steps, *of_metrics):
            found.setdefault(column.key, column)
    yield from found.values()


def _task(runs: Sequence[RunFolder]) -> type[Task]:
    """The task whose words the page uses, where runs are of several: the first of ``TASKS``."""
    evaluated = {run.task for run in runs if run.metrics} or {run.task for run in runs}
    return next(task for task in TASKS if task in evaluated)


def _describe(runs: Sequence[RunFolder], key: str, is_share: bool, baseline: float | None) -> str:
    """The alternative text of a panel: where each curve starts and ends."""
    parts = []
    for run in runs:
        for columns, what in ((run.log, "training"), (run.validation, "validation")):
            values = [value for value in columns.get(key, ()) if not math.isnan(value)]
            if values:
                ends = [numbers.percent(v) if is_share else f"{v:.4g}" for v in (values[0], values[-1])]
                parts.append(f"{run.name}, {what}: from {ends[0]} to {ends[1]}")
    if is_share and baseline is not None:
        parts.append(f"{_baseline_title(runs)} {numbers.percent(baseline)}")
    return "; ".join(parts)


def _failed(run: RunFolder) -> Iterator[str]:
    """A line for each file that could not be read, in training and in the evaluation that is reported."""
    yield from (f"in training: {line}" for line in run.unread)
    if run.metrics:
        yield from (f"in the {run.metrics['split']} split: {line}" for line in run.metrics["failed"])


@dataclass(frozen=True)
class _Filmstrip:
    example: Example
    images: Sequence[tuple[str, str]]  # (alternative text, data address)
    link: str
    relevance: Sequence[tuple[str, str]] = ()  # as images, painted
    relevance_text: str = ""

    @property
    def is_playable(self) -> bool:
        return bool(self.link) and is_playable(self.example.file)

    @property
    def answer(self) -> str:
        return self.example.predicted or self.example.predictions[0][0]

    @property
    def verdict(self) -> str:
        if self.example.true_label is None:
            return ""
        return "correct" if self.answer == self.example.true_label else "wrong"


def _film_strips(
    examples: Sequence[Example], page: Path, runs: Sequence[RunFolder]
) -> Iterator[tuple[str, str, list[tuple[str, list[_Filmstrip]]]]]:
    """Title and description of each section, and its groups in the order of the examples."""
    of = f" All are of {runs[0].name}." if len(runs) > 1 else ""
    explained = [example.explanation for example in examples if example.explanation is not None]
    scale = scale_of_page(explained) if explained else None
    for title, description, kinds in (
        ("Clips to look at", HARD_CLIPS + of, ("wrong", "close")),
        ("Examples", "", ("",)),
    ):
        shown = [_filmstrip(example, page, scale) for example in examples if example.kind in kinds]
        groups = [(name, list(strips)) for name, strips in groupby(shown, key=lambda strip: strip.example.group)]
        if groups:
            yield title, description, groups


def _filmstrip(example: Example, page: Path, scale: Scale | None) -> _Filmstrip:
    link = "" if example.file is None else link_to(example.file, page, *example.seconds)
    why = example.explanation
    if scale is None or why is None:
        return _Filmstrip(example, film_strip(example.frames), link)
    return _Filmstrip(example, film_strip(example.frames), link, *relevance_strip(why, scale))
