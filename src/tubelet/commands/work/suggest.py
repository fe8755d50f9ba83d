"""``tubelet suggest``: names the stretches of films that are most worth labeling."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tubelet.api.suggest import suggest
from tubelet.commands.console import output_console
from tubelet.commands.suggest import Options
from tubelet.commands.work.predict_windows import check_frame_fps
from tubelet.data.layouts.find_files import find_files
from tubelet.errors import ConfigError, printable
from tubelet.runs.per_frame.suggestions import PROJECT, Suggestions, check_new


def run(options: Options) -> int:
    if not options.films:
        raise ConfigError("nothing to look at: give video files, folders or globs behind the run")
    check_new(options.out)
    files = find_files(options.films)
    check_frame_fps(options.frame_fps, files)
    found = suggest(
        options.run,
        files,
        minutes=options.minutes,
        stretch_seconds=options.stretch,
        out=options.out,
        frame_fps=options.frame_fps,
        device=options.device,
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    if found.minutes < options.minutes - 1e-3:
        print(f"tubelet: {found.minutes:.1f} minutes are all that is not labeled", file=sys.stderr)
    print(f"label in: {options.out / PROJECT}", file=sys.stderr)
    if found.failed:
        print(f"tubelet: {len(found.failed)} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if found.failed else 0


def _show(found: Suggestions) -> None:
    table = Table(title=f"{found.minutes:.1f} minutes to label, the best first")
    for heading in ("film", "from (s)", "to (s)", "unsure", "new", "likely"):
        table.add_column(heading, justify="left" if heading in ("film", "likely") else "right")
    for stretch in found.stretches:
        times = [f"{stretch.start_seconds:.2f}", f"{stretch.stop_seconds:.2f}"]
        numbers = [f"{stretch.uncertainty:.3f}", f"{stretch.novelty:.3f}"]
        name = escape(printable(Path(stretch.path).name))
        table.add_row(name, *times, *numbers, escape(", ".join(map(printable, stretch.likely))))
    output_console().print(table)
