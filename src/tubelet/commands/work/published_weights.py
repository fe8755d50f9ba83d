"""``tubelet models --weights``: published files with command, size, accuracy and three licenses."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from typing import Any

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.models import Options
from tubelet.evaluation.model_row import row_of_model
from tubelet.published_weights import PublishedWeights, published_weights


def list_weights(models: Collection[str], options: Options) -> int:
    """Print the published files of some models."""
    of_models = [row for row in published_weights() if row.model in models]
    kept = [row for row in of_models if options.license is None or row.allows_commercial_use]
    if options.json:
        print(json.dumps([facts_of(row) for row in kept], indent=2))
    else:
        output_console().print(_table(kept))
    if left := len(of_models) - len(kept):
        print(
            f"{left} of {len(of_models)} published files are left out: one of their three licenses forbids commercial "
            "use or was not read; `tubelet models --weights` shows which",
            file=sys.stderr,
        )
    return 0


def facts_of(row: PublishedWeights) -> dict[str, Any]:
    """What a program gets of a row. Parameters in millions are the model's own count, for its own class count."""
    counted, result = row_of_model(row.model), row.result
    _, own_frames, *_ = counted.clip_shape
    frames = row.frames or own_frames
    return {
        "model": row.model,
        "title": row.title,
        "dataset": row.dataset,
        "start": row.start,
        "frames": frames,
        "command": row.command,
        "parameters_m": round(counted.parameters / 1e6, 2),
        "gmacs_per_view": round(counted.gmacs_per_view, 2) if frames == own_frames else None,
        "accuracy_percent": None if result is None else result.top1,
        "views": None if result is None else result.views,
        "source": None if result is None else result.source,
        "code_license": row.code_license,
        "weights_license": row.weights_license,
        "data": list(row.data),
        "data_license": row.data_license,
    }


def _table(rows: Collection[PublishedWeights]) -> Table:
    table = Table("model", box=None, pad_edge=False)
    for heading in ("published as", "frames", "accuracy", "convert", "code", "weights", "training data"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        published = ", ".join(filter(None, (row.title, row.dataset, row.start and f"from {row.start}")))
        accuracy = (
            "" if row.result is None else f"{row.result.accuracy_text} ({row.result.views or 'views not stated'})"
        )
        data = f"{', '.join(row.data)}: {row.data_license}"
        frames = "" if row.frames is None else str(row.frames)
        licenses = row.code_license, row.weights_license
        table.add_row(row.model, published, frames, accuracy, f"{row.converter} {row.path or 'FILE'}", *licenses, data)
    return table
