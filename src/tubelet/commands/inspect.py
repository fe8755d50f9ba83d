"""``tubelet inspect CHECKPOINT``: what a checkpoint holds, without loading its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.markup import escape
from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import output_console
from tubelet.config import to_dict
from tubelet.evaluation.cost import count_parameters
from tubelet.models import create_model
from tubelet.weights.checkpoint import Record, read_record

DESCRIPTION = """Show what a checkpoint holds: model, protocol, labels and where it comes from.

examples:
  tubelet inspect runs/demo/best
  tubelet inspect runs/demo/best --json"""

SHOWN_LABELS = 20  # class names of one head on the screen; JSON has all


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]  # a checkpoint folder
    json: bool = False  # print JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "inspect", DESCRIPTION)
    content = summary(read_record(options.checkpoint))
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(content)
    return 0


def summary(record: Record) -> dict[str, Any]:
    """Plain data about a checkpoint: model, parameters, model_config, protocol, labels, provenance."""
    with torch.device("meta"):
        model = create_model(record.model_name, **record.model_config)
    protocol = to_dict(record.protocol)
    labels = protocol.pop("labels")
    return {
        "model": record.model_name,
        "parameters": count_parameters(model),
        "model_config": dict(record.model_config),
        "protocol": protocol,
        "labels": labels,
        "provenance": dict(record.provenance),
    }


def _show(content: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in content.items():
        if key == "labels":
            for head, names in value.items():
                table.add_row(f"labels of {head} ({len(names)})", escape(_first_names(names)))
        elif isinstance(value, Mapping):
            table.add_section()
            table.add_row(f"[bold]{key}[/bold]", "")
            for name, inner in value.items():
                table.add_row(f"  {name}", escape(_text(inner)))
        else:
            table.add_row(f"[bold]{key}[/bold]", f"{value:,}" if isinstance(value, int) else escape(str(value)))
    output_console().print(table)


def _first_names(names: list[str]) -> str:
    more = f" ... and {len(names) - SHOWN_LABELS} more (--json prints all)" if len(names) > SHOWN_LABELS else ""
    return ", ".join(names[:SHOWN_LABELS]) + more


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)
