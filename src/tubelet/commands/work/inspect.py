"""``tubelet inspect CHECKPOINT``: shows what a checkpoint holds, without loading the weights of tubelet's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.inspect import Options
from tubelet.commands.provenance import is_mapping, is_parity, mapping_table, parity_text
from tubelet.config import to_dict
from tubelet.evaluation.cost import count_parameters
from tubelet.models import create_model
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.open_checkpoint import open_record

SHOWN_LABELS = 20  # class names of one head on the screen; JSON has all


def run(options: Options) -> int:
    content = summary(open_record(options.checkpoint))
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(content)
    return 0


def summary(record: Record) -> dict[str, Any]:
    """Plain data about a checkpoint: model, license, parameters, model_config, protocol, calibration, ..."""
    with torch.device("meta"):
        model = create_model(record.model_name, **record.model_config)
    protocol = to_dict(record.protocol)
    labels = protocol.pop("labels")
    return {
        "model": record.model_name,
        "license": record.license or "unknown",
        "parameters": count_parameters(model),
        "model_config": dict(record.model_config),
        "protocol": protocol,
        "precision": record.precision,
        "calibration": to_dict(record.calibration),
        "labels": labels,
        "provenance": dict(record.provenance),
    }


def _show(content: Mapping[str, Any]) -> None:
    mappings: list[Mapping[str, Any]] = []
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
                if is_mapping(inner):
                    mappings.append(inner)
        else:
            table.add_row(f"[bold]{key}[/bold]", f"{value:,}" if isinstance(value, int) else escape(str(value)))
    output_console().print(table, *map(mapping_table, mappings))


def _first_names(names: list[str]) -> str:
    more = f" ... and {len(names) - SHOWN_LABELS} more (--json prints all)" if len(names) > SHOWN_LABELS else ""
    return ", ".join(names[:SHOWN_LABELS]) + more


def _text(value: Any) -> str:
    if is_parity(value):
        return parity_text(value)
    if is_mapping(value):
        return str(value["summary"])
    if isinstance(value, Mapping) and "contents" in value:  # of trained_on
        value = dict(value) | {"contents": f"{len(value['contents'].split())} hashes (--json prints all)"}
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)
