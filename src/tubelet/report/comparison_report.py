"""The report of a comparison: one self-contained HTML page, and its texts and tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tubelet import config
from tubelet.files import write_atomically
from tubelet.report import comparison_plots as plots
from tubelet.report import comparison_tables as views
from tubelet.report import tables
from tubelet.report.mistakes import Mistake, mistakes
from tubelet.report.page import environment, versions, written
from tubelet.studies.arms import Comparison
from tubelet.studies.items import COMPARED
from tubelet.studies.results import ArmResult, ComparisonResult, ProtocolResult
from tubelet.tasks.task import LOSS

HTML, MARKDOWN = "report.html", "report.md"
LOOKS = "the test split was evaluated once per run"
LOOKS_WITH_VIEWS = (
    "each run was evaluated on the test split once with its own views and once with each number of views below"
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page shows of one dataset under one protocol."""

    protocol: ProtocolResult
    split_sizes: str
    shown: tuple[views.Table, ...]  # tables
    panels: tuple[tuple[str, str, Markup], ...]  # title, description, SVG
    matrices: tuple[tuple[int, ArmResult, tables.Confusion], ...]
    mistakes: tuple[Mistake, ...]


def write_comparison_report(out: Path, result: ComparisonResult, comparison: Comparison, *, command: str) -> Path:
    """Write ``report.html`` and ``report.md`` in the folder of the comparison, and return the first.

    Args:
        out: folder of the comparison, with its runs.
        command: that made it, to be printed in it.
    """
    found = mistakes(out, result, comparison)
    context: dict[str, Any] = {
        "title": result.question,
        "result": result,
        "comparison": comparison,
        "sections": [_section(result, protocol, found) for protocol in result.protocols],
        "starts": views.starts(result) if result.starts else None,
        "looks": views.looks(result, comparison),
        "looks_at_test": LOOKS_WITH_VIEWS if comparison.test_views else LOOKS,
        "published": [views.published(source) for source in comparison.published],
        "warnings": list(views.warnings(result)),
        "settings": config.dump_yaml(config.to_dict(comparison)),
        "command": command,
        "written": written(),
        "versions": versions(),
    }
    html = environment()
    html.globals.update(glyph=plots.glyph)
    write_atomically(out / HTML, html.get_template("comparison.html.j2").render(context))
    text = environment(is_html=False)
    write_atomically(out / MARKDOWN, text.get_template("comparison.md.j2").render(context))
    return out / HTML


def _section(result: ComparisonResult, protocol: ProtocolResult, found: Mapping[str, tuple[Mistake, ...]]) -> Section:
    is_tuned = protocol.protocol == "tuned"
    shown = [views.results(result, protocol)]
    if protocol.contrasts:
        shown.append(views.contrasts(result, protocol))
    if is_tuned:
        shown.append(views.convergence(result, protocol))
        if protocol.arms[0].views:
            shown.append(views.test_views(result, protocol))
    return Section(
        protocol=protocol,
        split_sizes=views.split_sizes(result, protocol.dataset),
        shown=tuple(shown),
        panels=tuple(_panels(result, protocol)),
        matrices=tuple(_matrices(result, protocol)) if is_tuned else (),
        mistakes=found.get(protocol.dataset, ()) if is_tuned else (),
    )


def _panels(result: ComparisonResult, protocol: ProtocolResult) -> Iterator[tuple[str, str, Markup]]:
    """Title, description and SVG of each plot."""
    salt, metric = f"{protocol.dataset}-{protocol.protocol}", protocol.metric
    is_lower_better = COMPARED.decisive(metric).is_lower_better
    arms = [arm for arm in protocol.arms if any(run.curve for run in arm.runs)]
    ends = "; ".join(f"{arm.arm}: area {views.interval(arm.area)}" for arm in arms)
    if not arms:
        return
    each = "; ".join(f"{arm.arm}: {views.interval(arm.test.get(metric))}" for arm in protocol.arms)
    runs = plots.every_run(protocol.arms, metric, x_label=f"test {metric}", salt=f"{salt}-runs")
    yield f"Test {metric} of every run", f"small dots; above them the mean and its 95 % interval. {each}", runs
    curve = plots.curves(protocol.arms, metric, y_label=metric, salt=f"{salt}-metric")
    yield f"Validation {metric}", f"over training steps, mean over seeds with 95 % bands. {ends}", curve
    if metric != LOSS.key:
        curve = plots.curves(protocol.arms, LOSS.key, y_label=LOSS.unit, salt=f"{salt}-loss")
        yield "Validation loss", "over training steps, mean over seeds with 95 % bands", curve
    if protocol.protocol != "tuned":
        return
    costs = result.costs[protocol.dataset]
    for name, unit, of_arm in (
        ("GMACs", "GMACs per view", {arm.arm: costs[arm.arm].gmacs for arm in arms}),
        ("training time", "seconds per run", {a.arm: views.training_seconds(a, costs[a.arm]) for a in arms}),
    ):
        points = [
            plots.Point(series=series, cost=of_arm[arm.arm], value=found.mean, low=found.low, high=found.high)
            for series, arm in enumerate(protocol.arms)
            if arm.arm in of_arm and (found := arm.test.get(metric)) is not None
        ]
        text = "; ".join(f"{protocol.arms[p.series].arm}: {p.value:.3f} at {p.cost:.4g}" for p in points)
        svg = plots.accuracy_against_cost(
            points, x_label=unit, y_label=metric, salt=f"{salt}-{name}", is_lower_better=is_lower_better
        )
        yield f"Test {metric} against {name}", text, svg
    if points := list(_points_of_views(result, protocol)):
        text = "; ".join(f"{protocol.arms[p.series].arm}: {p.value:.3f} at {p.cost:.4g}" for p in points)
        svg = plots.accuracy_against_cost(
            points, x_label="GMACs per video", y_label=metric, salt=f"{salt}-views", is_lower_better=is_lower_better
        )
        yield f"Test {metric} with more temporal views", text, svg
    times = {arm.arm: _step_times(result, protocol, arm) for arm in protocol.arms}
    text = "; ".join(f"{name}: {value:.1f} ms" for name, (value, _, _) in times.items())
    yield "Time of a training step", text, plots.bars(times, x_label="milliseconds", salt=f"{salt}-times")


def _points_of_views(result: ComparisonResult, protocol: ProtocolResult) -> Iterator[plots.Point]:
    for series, arm in enumerate(protocol.arms):
        gmacs = result.costs[protocol.dataset][arm.arm].gmacs
        for number, found in arm.views.items():
            if math.isnan(found.mean):
                continue
            yield plots.Point(series=series, cost=gmacs * int(number), value=found.mean, low=found.low, high=found.high)


def _step_times(result: ComparisonResult, protocol: ProtocolResult, arm: ArmResult) -> tuple[float, float, float]:
    """Milliseconds: median and quartiles of the rounds."""
    cost = result.costs[protocol.dataset][arm.arm]
    return 1000 * cost.step_seconds, 1000 * cost.step_spread[0], 1000 * cost.step_spread[1]


def _matrices(result: ComparisonResult, protocol: ProtocolResult) -> Iterator[tuple[int, ArmResult, tables.Confusion]]:
    """The confusion matrix of each arm, all its runs together."""
    for series, arm in enumerate(protocol.arms):
        each = [run.confusion for run in arm.runs if run.confusion]
        if each:
            rows = [[sum(cells) for cells in zip(*of_row, strict=True)] for of_row in zip(*each, strict=True)]
            yield series, arm, tables.confusion({"labels": result.classes[protocol.dataset], "confusion": rows})
