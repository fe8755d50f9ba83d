"""``tubelet probe``: heads on the features of a frozen encoder, by cross-validation."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from tubelet.api.probe import probe_name, probe_recipe
from tubelet.commands.console import output_console
from tubelet.commands.probe import Options
from tubelet.commands.work.train_options import reading_fields
from tubelet.errors import Stopped
from tubelet.files import check_path
from tubelet.probing.result import ProbeResult
from tubelet.probing.run import RESULT, run_probe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session


def run(options: Options, overrides: list[tuple[str, str]]) -> int:
    fields = reading_fields(options.columns, options.group_column, options.group_pattern)
    recipe = probe_recipe(options.data, options.encoder, [*fields, *overrides])
    out = options.out or Path("probes") / probe_name(options.data, options.encoder)
    check_path(out, is_written=True)
    with ConsoleProgress("probe") as progress:
        session = Session(device=choose_device(options.device), progress=progress)
        try:
            result = run_probe(recipe, options.probe, out, out.parent / "features", session)
        except Stopped as stop:
            raise Stopped(f"{out}: {stop}; the same command goes on", stop.signal_number) from None
    if options.json:
        print((out / RESULT).read_text(encoding="utf-8"), end="")
    else:
        print_result(result)
    print(f"checkpoint: {out / 'best'}\nresult:     {out / RESULT}", file=sys.stderr)
    return 0


def print_result(result: ProbeResult) -> None:
    """Print the table, the learning curve and the notes."""
    console, found = output_console(), result.table
    table = RichTable(title=escape(found.title))
    for heading in found.columns:
        table.add_column(escape(heading))
    for row in found.rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else escape(str(value)) for value in row))
    console.print(table)
    for number, values in result.few_shot.items():
        random = result.few_shot_random[number]
        console.print(
            f"{number} clip{'s' * (number != 1)} per class: {values['mean']:.3f} ± {values['sd']:.3f}; "
            f"random weights {random['mean']:.3f} ± {random['sd']:.3f}",
            highlight=False,
        )
    for line in result.notes:
        console.print(f"- {line}", highlight=False, markup=False, soft_wrap=True)
