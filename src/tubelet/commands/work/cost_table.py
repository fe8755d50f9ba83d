"""``tubelet cost --table``: what the models cost beside the figures of their papers."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.cost import TableOptions
from tubelet.errors import ConfigError, nearest
from tubelet.evaluation.cost import measure_latency
from tubelet.evaluation.cost_table import CONVENTIONS, CostRow, make_row, plan_rows
from tubelet.models import create_model, list_models, model_config
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device


def run(options: TableOptions) -> int:
    _check(options)
    planned = plan_rows(options.filter)
    if not planned:
        raise ConfigError(f"no model's name contains '{options.filter}'{nearest(options.filter, list_models())}")
    rows: list[dict[str, Any]] = []
    times: dict[tuple[str, int, tuple[int, int]], float] = {}
    with ConsoleProgress("cost") as progress:
        for done, (name, cost) in enumerate(planned):
            progress.advance(done, len(planned), name)
            row = make_row(name, cost)
            clip = row.model, row.frames, row.size
            if options.measure and clip not in times:
                times[clip] = _milliseconds(row, options)
            rows.append(as_dict(row, times.get(clip)))
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        output_console().print(_table(rows, options.measure))
        for family, text in CONVENTIONS.items():
            if any(row["model"].startswith(family) and row["published"] for row in rows):
                print(f"{family}: {text}.")
    return 0


def _check(options: TableOptions) -> None:
    measuring = {"--repetitions": options.repetitions, "--threads": options.threads, "--device": options.device}
    idle = [name for name, value in measuring.items() if value is not None]
    if idle and not options.measure:
        raise ConfigError(f"{', '.join(idle)} belongs to --measure; give that too, or leave it out")
    if any(value is not None and value < 1 for value in (options.repetitions, options.threads)):
        raise ConfigError("--repetitions and --threads must be positive")


def _milliseconds(row: CostRow, options: TableOptions) -> float:
    """Measure the median time of a forward pass over one view."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device or "auto")
    with device:
        model = create_model(row.model, num_frames=row.frames, image_size=row.size)
        clip = torch.zeros(1, model_config(row.model).in_channels, row.frames, *row.size)
    latency = measure_latency(model, clip, repetitions=options.repetitions or 3, warmup=1)
    return 1e3 * latency.median_seconds


def as_dict(row: CostRow, milliseconds: float | None) -> dict[str, Any]:
    """Return one row as plain data."""
    return {
        **dataclasses.asdict(row),
        "gmacs_per_video": row.gmacs_per_video,
        "ratio": row.ratio,
        "milliseconds_per_view": milliseconds,
    }


def _table(rows: list[dict[str, Any]], measured: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    titles = ("frames x pixels", "M param.", "(publ.)", "GMACs", "(publ.)", "counted/publ.", "views", "GMACs/video")
    for title in (*titles, *(("ms/view",) if measured else ())):
        table.add_column(title, justify="right")
    table.add_column("source", overflow="fold")
    for row in rows:
        said = row["published"] or {}
        unsure = "" if said.get("verified", True) else " (unverified)"
        table.add_row(
            row["model"],
            f"{row['frames']} x {row['size'][0]}",
            f"{row['parameters'] / 1e6:.2f}",
            _text(said.get("params_m"), ".4g"),
            f"{row['gmacs_per_view']:.1f}",
            _text(said.get("gmacs"), ".5g"),
            _text(row["ratio"], ".3f"),
            row["views"] or "",
            _text(row["gmacs_per_video"], ".0f"),
            *((_text(row["milliseconds_per_view"], ".0f"),) if measured else ()),
            escape(said.get("source", "") + unsure),
        )
    return table


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
