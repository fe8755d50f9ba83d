"""``tubelet models``: lists every model with its parameters and GMACs, or the published files."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.models import Options
from tubelet.commands.work.published_weights import list_weights
from tubelet.errors import ConfigError, nearest
from tubelet.evaluation.model_row import ModelRow, row_of_model
from tubelet.models import list_models


def run(options: Options) -> int:
    names = list_models(options.filter)
    if not names:
        raise ConfigError(
            f"no model's name contains or matches '{options.filter}'{nearest(options.filter, list_models())}"
        )
    if options.weights or options.license:
        return list_weights(frozenset(names), options)
    rows = [row_of_model(name) for name in names]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        output_console().print(_table(rows))
    return 0


def _table(rows: list[ModelRow]) -> Table:
    table = Table("model", box=None, pad_edge=False)
    for title in ("parameters (M)", "GMACs per view", "frames x height x width"):
        table.add_column(title, justify="right")
    for row in rows:
        size = " x ".join(map(str, row.clip_shape[1:]))
        table.add_row(row.name, f"{row.parameters / 1e6:.2f}", f"{row.gmacs_per_view:.2f}", size)
    return table
