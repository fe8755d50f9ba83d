"""The tables of a comparison's report, as texts: the same for HTML and Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tubelet.published import published_results
from tubelet.report import numbers
from tubelet.studies.arms import Comparison
from tubelet.studies.items import COMPARED, difference_name
from tubelet.studies.results import ArmResult, ComparisonResult, ProtocolResult
from tubelet.studies.statistics import Interval, p_text
from tubelet.studies.timing import Cost


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose first column names the row; ``about`` explains it under its name."""

    title: str
    note: str  # what the numbers are
    columns: tuple[str, ...]  # without the first
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]  # name, about, cells


def results(result: ComparisonResult, protocol: ProtocolResult) -> Table:
    """What each arm reaches on the test split and what it costs."""
    costs = result.costs[protocol.dataset]
    metrics = protocol.shown_metrics
    columns = (
        *("setting", *(f"test {metric}" for metric in metrics)),
        *("runs", "diverged", "parameters", "GMACs", "training", "ms per clip", "peak memory"),
    )
    rows = []
    for arm in protocol.arms:
        cost = costs[arm.arm]
        tests = [interval(arm.test.get(metric)) for metric in metrics]
        peak = "–" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:,.0f}{numbers.SPACE}MB"
        cells = (
            *(arm.setting, *tests, str(arm.num_runs), str(arm.num_diverged)),
            *(
                numbers.parameters(cost.num_parameters),
                f"{cost.gmacs:.4g}",
                numbers.duration(training_seconds(arm, cost)),
            ),
            *(f"{1000 * cost.clip_seconds:.2f}", peak),
        )
        rows.append((arm.arm, arm.about, cells))
    return Table(
        title="Results",
        note=(
            "Mean over seeds, in brackets its 95 % interval. GMACs of one view. Training: steps of a run times the "
            "time of a step in a pass of its own, one arm at a time in turn, without reading data and validation; ms "
            "per clip without gradients, from the same pass. Peak memory of a whole process that takes training steps."
        ),
        columns=columns,
        rows=tuple(rows),
    )


def convergence(result: ComparisonResult, protocol: ProtocolResult) -> Table:
    """How fast each arm gets where."""
    levels = list(protocol.arms[0].steps_to)
    columns = [f"area under validation {protocol.metric}"]
    columns += [f"to {level}: {what}" for level in levels for what in ("steps", "seconds")]
    rows = []
    for arm in protocol.arms:
        step_seconds = result.costs[protocol.dataset][arm.arm].step_seconds
        cells = [interval(arm.area)]
        for level in levels:
            steps, reached = _steps(arm.steps_to[level])
            cells += [reached, "–" if steps is None else numbers.duration(steps * step_seconds)]
        rows.append((arm.arm, "", tuple(cells)))
    return Table(
        title="Convergence",
        note=(
            "Area: mean height of the validation curve over training steps. Steps and seconds to the first validation "
            "that reaches a value: median over the runs that do, and how many do."
        ),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def test_views(result: ComparisonResult, protocol: ProtocolResult) -> Table:
    """The metric with each number of temporal views."""
    numbers_of_views = list(protocol.arms[0].views)
    rows = []
    for arm in protocol.arms:
        gmacs = result.costs[protocol.dataset][arm.arm].gmacs
        cells = [f"{interval(found)} at {gmacs * int(number):.3g}" for number, found in arm.views.items()]
        rows.append((arm.arm, "", tuple(cells)))
    return Table(
        title="Temporal views",
        note=f"Test {protocol.metric} of the same runs with so many temporal views, at so many GMACs per video.",
        columns=tuple("1 view" if number == "1" else f"{number} views" for number in numbers_of_views),
        rows=tuple(rows),
    )


def published(source: str) -> Table:
    """The rows of ``published.csv`` from one source: accuracies by dataset, and what they cost."""
    found = [row for row in published_results() if row.source == source]
    scores = list(dict.fromkeys((row.dataset, row.head) for row in found))
    rows = []
    for title in dict.fromkeys(row.title for row in found):
        of_title = [row for row in found if row.title == title]
        by_score = {(row.dataset, row.head): row.accuracy_text for row in of_title}
        gmacs, params = ({getattr(row, name) for row in of_title} - {None} for name in ("gmacs", "params_m"))
        costs = ("–" if not values else f"{min(values):g}" for values in (gmacs, params))
        rows.append((title, "", (*(by_score.get(score, "–") for score in scores), *costs)))
    columns = (f"{dataset}{f' {head}' if head else ''} top-1, %" for dataset, head in scores)
    note = "GMACs as the source counts them."
    if not all(row.verified for row in found):
        note += " Unverified: from memory or second hand."
    return Table(title=source, note=note, columns=(*columns, "GMACs", "parameters, M"), rows=tuple(rows))


def contrasts(result: ComparisonResult, protocol: ProtocolResult) -> Table:
    """The pairs that are judged, with their numbers."""
    rows = []
    for found in protocol.contrasts:
        d = found.difference
        both, seeds = _bounds(d.low, d.high), _bounds(found.seed_low, found.seed_high)
        items = _bounds(found.item_low, found.item_high)
        cells = (
            *(found.verdict, f"{d.mean:+.3f}", both, seeds, items),
            *(p_text(found.p_value), p_text(found.corrected), f"{found.superiority:.2f}"),
        )
        rows.append((f"{found.first} against {found.second}", "", cells))
    return Table(
        title="Contrasts",
        note=(
            f"Difference of {difference_name(protocol.metric)}, paired by seed, with its 95 % interval over seeds and "
            "test items together (t with both variances), over seeds alone (t) and over test items alone (bootstrap). "
            "The first can be narrower than the second: the test items, of which there are more, tell how much of the "
            "spread is theirs. p is of both together; corrected by Holm for all contrasts of this table. Better or "
            "worse: corrected p below 0.05. Superiority: chance that a run of the first beats one of the second; one "
            "that diverged beats none."
        ),
        columns=(
            "verdict",
            "difference",
            "95 % interval",
            "seeds alone",
            "items alone",
            "p",
            "p corrected",
            "superiority",
        ),
        rows=tuple(rows),
    )


def starts(result: ComparisonResult) -> Table:
    """The models that arms start from, and what they know."""
    metrics = [metric.key for metric in COMPARED.columns("comparison")]
    rows = [
        (
            f"{start.name} for {start.dataset}",
            start.about,
            (*(numbers.decimal(start.validation.get(name)) for name in metrics), f"{start.num_steps:,}"),
        )
        for start in result.starts
    ]
    return Table(
        title="Models that arms start from",
        note="Trained by the comparison first, once for each dataset; figures of their own validation splits.",
        columns=(*(f"validation {metric}" for metric in metrics), "steps"),
        rows=tuple(rows),
    )


def looks(result: ComparisonResult, comparison: Comparison) -> Table:
    """What tuning took, and where it ended."""
    rows = []
    for look in result.looks:
        edge = f"yes: {', '.join(look.at_edge)}" if look.at_edge else "no"
        name = look.arm if len(comparison.datasets) == 1 else f"{look.arm} on {look.dataset}"
        cells = (
            look.setting,
            f"{look.metric} {numbers.decimal(look.score)}",
            str(look.num_runs),
            str(look.num_diverged),
            edge,
        )
        rows.append((name, "", cells))
    grids = "; ".join(
        f"{dataset}: " + ", ".join(f"{key} {' '.join(f'{v:g}' for v in values)}" for key, values in grid.items())
        for dataset, grid in result.grids.items()
    )
    return Table(
        title="Tuning",
        note=(
            f"The same for each arm: every setting of the grid ({grids}) with {comparison.tuning.num_seeds} seed(s), "
            f"judged on the validation split. Looks: how many runs that choice saw, each of them the best of its "
            "own validations. At edge: the best value is the last that was tried, so that a better one may lie beyond."
        ),
        columns=("best setting", "on validation", "looks", "diverged", "at edge"),
        rows=tuple(rows),
    )


def warnings(result: ComparisonResult) -> Iterator[str]:
    """Facts that keep a reader from a wrong conclusion."""
    for protocol in result.protocols:
        for arm in protocol.arms:
            where = f"{arm.arm} on {protocol.dataset} ({protocol.protocol})"
            if arm.num_diverged:
                yield f"{where}: {arm.num_diverged} of {arm.num_runs} final runs diverged and are in no mean."
            elif arm.num_runs < 2:
                yield f"{where}: a single seed; nothing is concluded from it."
            yield from _unread(where, arm)
    for look in result.looks:
        if look.at_edge:
            edges = ", ".join(look.at_edge)
            yield f"{look.arm} on {look.dataset}: the best {edges} lies at the edge of the grid; more may lie beyond."


def _unread(where: str, arm: ArmResult) -> Iterator[str]:
    num_failed, num_unread = (max(getattr(run, name) for run in arm.runs) for name in ("num_failed", "num_unread"))
    if num_failed:
        items = numbers.count(num_failed, "test item")
        yield f"{where}: {items} could not be read in a run; contrasts are on those that all runs read."
    if num_unread:
        videos = numbers.count(num_unread, "training video")
        yield f"{where}: {videos} could not be read in a run (listed in its unreadable.csv)."


def split_sizes(result: ComparisonResult, dataset: str) -> str:
    """``1,188 train, 98 val, 298 test``; ``100 to 1,188 train`` where arms differ in it."""
    texts = {name: f"{a:,}" if a == b else f"{a:,} to {b:,}" for name, (a, b) in result.splits[dataset].items()}
    return ", ".join(f"{text} {name}" for name, text in texts.items())


def training_seconds(arm: ArmResult, cost: Cost) -> float:
    """Of one run: its steps times the time of a step."""
    steps = [run.num_steps for run in arm.runs if run.diverged is None]
    return max(steps) * cost.step_seconds if steps else math.nan


def interval(found: Interval | None) -> str:
    """``0.812 (0.790 to 0.834)``."""
    if found is None or math.isnan(found.mean):
        return "–"
    if math.isnan(found.low):
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _bounds(low: float | None, high: float | None) -> str:
    """Of a difference, with signs."""
    return "–" if low is None or math.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def _steps(steps: Sequence[int | None]) -> tuple[int | None, str]:
    """The median of the runs that get there, and it with their number as text."""
    reached = sorted(step for step in steps if step is not None)
    if not reached:
        return None, f"none of {len(steps)}"
    median = round(statistics.median(reached))
    return median, f"{median:,} ({len(reached)} of {len(steps)})"
