"""``tubelet demo moments``: films with known bouts, a model trained on them end to end, and a head on its features."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.demo import Options
from tubelet.commands.work.demo_run import carry_out
from tubelet.data.synthetic_films import write_films
from tubelet.errors import ConfigError
from tubelet.runs.completed import CompletedRun
from tubelet.session.console_progress import ConsoleProgress

END_TO_END, STORED = "films/behaviors", "films/behaviors_stored"


def run(options: Options, argv: list[str]) -> int:
    out = options.out or Path("demo_moments")
    counts = films_of(options.films)
    low, high = options.film_seconds
    with ConsoleProgress("writing films") as progress:
        labels = write_films(out / "films", counts, seconds=(low, high), progress=progress.advance)
    command = shlex.join(["tubelet", "demo", *argv])
    first = carry_out(END_TO_END, labels, out / "end_to_end", options, [], command)
    init = [("init.source", json.dumps(str((out / "end_to_end" / "best").resolve())))]
    found = {
        "end to end": first,
        "stored features": carry_out(STORED, labels, out / "stored_features", options, init, command),
    }
    if options.json:
        print(json.dumps({name: result.to_dict() for name, result in found.items()}, indent=2))
    else:
        print_results(found)
    film = shlex.join(["tubelet", "moments", str(out / "films/test-00.mp4"), "--labels", str(labels)])
    print(f"look at a film: {film} --model {out / 'stored_features'} --out {out / 'moments'}", file=sys.stderr)
    return 0


def films_of(text: str) -> dict[str, int]:
    """Films of each split, from ``12,4,4``.

    Raises:
        ConfigError: another form.
    """
    numbers = text.split(",")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise ConfigError(f"--films {text}: expected the films to train on, to validate and to test, such as 12,4,4")
    return dict(zip(("train", "val", "test"), map(int, numbers), strict=True))


def print_results(results: dict[str, CompletedRun]) -> None:
    number = next(iter(results.values())).evaluation.num_videos
    table = Table(title=f"four behaviors, several at once, on {number} held-out films")
    table.add_column("figure")
    shown = {
        name: {cell.title: cell.text for cell in result.evaluation.cells("summary")} for name, result in results.items()
    }
    for name in results:
        table.add_column(name, justify="right")
    for title in next(iter(shown.values())):
        table.add_row(title, *(cells[title] or "-" for cells in shown.values()))
    table.add_row("training", *(f"{result.state.seconds:.0f} s" for result in results.values()))
    output_console().print(table)
