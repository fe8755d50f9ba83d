"""``tubelet compare``: runs arms with the same tuning budget and several seeds, and writes a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.table import Table

from tubelet.api.compare import (
    RESULT,
    ComparisonOptions,
    carry_out,
    choose_comparison,
    folder_name,
    process_devices,
)
from tubelet.commands.compare import Options
from tubelet.commands.console import output_console, report_take_over
from tubelet.errors import ConfigError, Stopped
from tubelet.report.comparison_report import HTML
from tubelet.report.comparison_tables import interval as interval_text
from tubelet.report.comparison_tables import warnings
from tubelet.session.console_progress import ConsoleProgress
from tubelet.studies.arms import list_comparisons
from tubelet.studies.results import ComparisonResult


def run(options: Options, argv: list[str]) -> int:
    if options.name is None:
        for name, question in list_comparisons().items():
            print(f"{name:<24}{question}")
        return 0
    if options.quick and options.full:
        raise ConfigError("--quick and --full exclude each other")
    size = ComparisonOptions(
        size="quick" if options.quick else "full" if options.full else None,
        num_seeds=options.seeds,
        folds=options.folds,
        jobs=options.jobs,
    )
    comparison = choose_comparison(options.name, options.data, size)
    devices = process_devices(options.device, options.jobs)
    out = options.out or Path("comparisons") / folder_name(options.name, size, comparison, options.data)
    if options.take_over:
        report_take_over(out)
    command = shlex.join(["tubelet", "compare", *argv])
    try:
        with ConsoleProgress(out.resolve().name) as progress:
            result = carry_out(comparison, out, devices, progress, command)
    except Stopped as stop:
        raise Stopped(f"{out}: {stop}; go on with `{command}`", stop.signal_number) from None
    if options.json:
        print((out / RESULT).read_text(encoding="utf-8"), end="")
    else:
        print_result(result)
    print(f"report: {(out / HTML).resolve()}", file=sys.stderr)
    return 0


def print_result(result: ComparisonResult) -> None:
    """Print a row per arm, a sentence per contrast, and the limits of both."""
    console = output_console()
    for protocol in result.protocols:
        table = Table(title=f"{protocol.dataset}, {protocol.protocol}: test {protocol.metric}, mean and 95 % interval")
        for heading in ("arm", "setting"):
            table.add_column(heading)
        metrics = protocol.shown_metrics
        for heading in (*metrics, "runs", "diverged", "GMACs", "ms per step"):
            table.add_column(heading, justify="right")
        for arm in protocol.arms:
            cost = result.costs[protocol.dataset][arm.arm]
            table.add_row(
                *(arm.arm, arm.setting),
                *(interval_text(arm.test.get(metric)) for metric in metrics),
                *(str(arm.num_runs), str(arm.num_diverged), f"{cost.gmacs:.4g}", f"{1000 * cost.step_seconds:.1f}"),
            )
        console.print(table)
        for line in protocol.sentences:
            console.print(f"- {line}", highlight=False, markup=False, soft_wrap=True)
    for line in warnings(result):
        console.print(f"! {line}", highlight=False, markup=False, soft_wrap=True)
