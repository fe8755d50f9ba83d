"""``tubelet cost NAME``: what one model costs, counted and measured; ``--table``: every model beside its paper."""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tubelet.commands.backbone_option import check_backbone
from tubelet.commands.console import output_console
from tubelet.commands.cost import Options
from tubelet.errors import ConfigError
from tubelet.evaluation.cost import count_macs, count_parameters, measure_latency, peak_memory_bytes
from tubelet.models import create_model, model_config
from tubelet.session.device import choose_device


def run(options: Options) -> int:
    cost = counted(options)
    if options.measure:
        with Console(stderr=True).status("measuring (--no-measure leaves this out)"):
            cost |= measured(options)
    if options.json:
        print(json.dumps(cost, indent=2))
    else:
        output_console().print(_table(cost))
    return 0


def counted(options: Options) -> dict[str, Any]:
    """Count parameters and multiply-adds without allocating weights."""
    num_views = _num_views(options.views)
    config = model_config(options.name, _fields(options))
    with torch.device("meta"):
        model = create_model(options.name, **_fields(options))
    gmacs = count_macs(model, (config.in_channels, config.num_frames, *config.image_size)) / 1e9
    return {
        "model": options.name,
        "frames": config.num_frames,
        "size": list(config.image_size),
        "num_classes": config.num_classes,
        "parameters": count_parameters(model),
        "gmacs_per_view": gmacs,
        "views": options.views,
        "gmacs_per_video": gmacs * num_views,
    }


def measured(options: Options) -> dict[str, Any]:
    """Measure latency and peak memory of forward passes on one device."""
    threads = 1 if options.threads is None else options.threads
    if min(options.batch, options.repetitions, threads) < 1:
        raise ConfigError("--batch, --repetitions and --threads must be positive")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    config = model_config(options.name, _fields(options))
    with device:
        model = create_model(options.name, **_fields(options))
        clip = torch.zeros(options.batch, config.in_channels, config.num_frames, *config.image_size)
    latency = measure_latency(model, clip, repetitions=options.repetitions, warmup=1)
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "repetitions": latency.repetitions,
        "median_seconds": latency.median_seconds,
        "fastest_seconds": latency.fastest_seconds,
        "slowest_seconds": latency.slowest_seconds,
        "peak_memory_bytes": peak_memory_bytes(device),
    }


def _fields(options: Options) -> dict[str, Any]:
    """Return the model fields of the command line."""
    check_backbone(options.name, options.backbone)
    named: dict[str, Any] = {"backbone": options.backbone}
    named |= {"num_frames": options.frames, "image_size": options.size, "num_classes": options.num_classes}
    return {field: value for field, value in named.items() if value is not None}


def _num_views(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(f"--views is temporal clips x spatial crops, for example 4x3; got '{text}'")
    return int(match[1]) * int(match[2])


def _table(cost: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    height, width = cost["size"]
    table.add_row("model", cost["model"])
    table.add_row("clip", f"{cost['frames']} frames of {height} x {width} pixels, {cost['num_classes']} classes")
    table.add_row("parameters", f"{cost['parameters'] / 1e6:.2f} M")
    table.add_row("GMACs per view", f"{cost['gmacs_per_view']:.2f}")
    table.add_row(f"GMACs per video ({cost['views']} views)", f"{cost['gmacs_per_video']:.2f}")
    if "device" in cost:
        where = f"{cost['device']}, {cost['threads']} CPU threads, batch {cost['batch']}, float32"
        table.add_row("measured on", where)
        spread = f"{cost['fastest_seconds']:.3f} to {cost['slowest_seconds']:.3f}"
        table.add_row("latency", f"{cost['median_seconds']:.3f} s (median of {cost['repetitions']}: {spread})")
        peak, whose = cost["peak_memory_bytes"], "tensors" if cost["device"] == "cuda" else "the whole process"
        table.add_row("peak memory", f"{peak / 2**20:.0f} MiB ({whose})" if peak else "not kept by this platform")
    return table
