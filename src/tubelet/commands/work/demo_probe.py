"""``tubelet demo probe``: real image weights, frozen, with and without a head that sees the order of frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet.api.probe import probe
from tubelet.commands.demo import Options
from tubelet.commands.work.probe import print_result
from tubelet.data.synthetic import write_motion_set
from tubelet.probing.result import ProbeResult
from tubelet.session.console_progress import ConsoleProgress

ENCODER = "lite0"
# What stands above each table, and the heads.
HEADS: dict[str, tuple[str, ...]] = {
    "mean and deviation of the frames, which do not show their order": ("linear",),
    "an encoder over time on the same frames": ("temporal",),
}
FIELDS: dict[str, Any] = {"protocol.resize_short_side": 64, "protocol.crop_size": [64, 64], "data.num_workers": 0}
GRID: dict[str, Any] = {"rates": (1e-3,), "weight_decays": (0.01,)}  # of the encoder over time


def run(options: Options) -> int:
    out = options.out or Path("demo_probe")
    with ConsoleProgress("writing videos") as progress:
        write_motion_set(out / "videos", options.counts, progress=progress.advance)
    results = {title: _probe(out, heads, options) for title, heads in HEADS.items()}
    if options.json:
        print(json.dumps({result.winner: result.to_dict() for result in results.values()}, indent=2))
        return 0
    for title, result in results.items():
        print(f"\n{title}:")
        print_result(result)
    print("\nevery clip played backwards is one of another class: without their order at most half can be right")
    return 0


def _probe(out: Path, heads: tuple[str, ...], options: Options) -> ProbeResult:
    grid = GRID if options.epochs is None else {**GRID, "epochs": options.epochs}
    folder = out / heads[0]
    return probe(out / "videos", ENCODER, out=folder, device=options.device, fields=FIELDS, heads=heads, **grid)
