"""``tubelet data bench``: measures how fast training clips are read, stage by stage."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated

import torch
import tyro
from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress, output_console
from tubelet.data.bench import Stages, measure_stages
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.prepare_dataset import is_prepared, other_kind
from tubelet.protocol import Protocol
from tubelet.session.session import Session

DESCRIPTION = """Read random training clips of a dataset and say where the time goes.

One process with one thread reads them, whatever they are (videos, members of tar shards, frame folders, volumes),
after the files have been touched once, so that the figures are those of a worker whose disk is fast enough. The
packet index of videos is made first, beside the data, and kept. Clips per second of one worker times the number of
workers is what a training can read; a training that takes more clips than that waits.

examples:
  tubelet data bench my_clips
  tubelet data bench prepared/manifest.csv --num-clips 200 --augment.random_resized_crop 0.3 1.0
  tubelet data bench my_clips --protocol.num_frames 16 --protocol.frame_stride 4 --json"""

_ADVICE = {
    "open": "opening files takes longest: use more workers, or longer clips",
    "decode": "decoding takes longest: use more workers, or fewer frames per clip",
    "convert": "scaling and colors take longest: store the data in a size nearer to that of training",
    "augment": "augmentation takes longest: leave out operations that cost more than they help",
    "copy": "moving pixels takes longest, so that nothing else is worth changing: use more workers",
    "collate": "putting batches together takes longest: use more workers, or smaller batches",
}
_ADVICE_FOR_VIDEOS = _ADVICE | {
    "open": "opening files takes longest: use `tubelet data prepare`, or longer clips",
    "decode": "decoding takes longest: `tubelet data prepare` makes files that decode many times faster",
    "convert": "scaling and colors take longest: `tubelet data prepare` stores the size that training reads",
}
_ADVICE_FOR_PREPARED = _ADVICE | {
    "convert": "scaling and colors take longest: a --short-side of `tubelet data prepare` nearer to the size of "
    "training takes less",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]  # manifest, .csv file or folder
    num_clips: int = 50  # clips to read, each of another row
    batch_size: int = 8  # clips that are put together
    num_workers: int = 2  # processes that make the packet index; clips are read by one
    protocol: Protocol = field(default_factory=Protocol)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    json: bool = False  # print seconds per clip of each stage as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data bench", DESCRIPTION)
    manifest = read_manifest(options.data, options.manifest)
    torch.set_num_threads(1)
    with ConsoleProgress("bench") as progress:
        index_manifest(manifest, options.num_workers, Session(progress=progress))
        stages, failures = measure_stages(
            manifest, options.protocol, options.augment, options.num_clips, options.batch_size, progress.advance
        )
        for line in failures.values():
            progress.note(line)
    if options.json:
        seconds = asdict(stages) | {"total": stages.total}
        content = {"seconds_per_clip": seconds, "bottleneck": stages.bottleneck, "failures": list(failures.values())}
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(stages, _advice(manifest)[stages.bottleneck])
    return 0


def _advice(manifest: Manifest) -> dict[str, str]:
    """Return advice on each stage, for data that can be prepared, is prepared, or cannot be."""
    if is_prepared(manifest):
        return _ADVICE_FOR_PREPARED
    return _ADVICE_FOR_VIDEOS if all(other_kind(manifest, row) is None for row in manifest.samples) else _ADVICE


def _show(stages: Stages, advice: str) -> None:
    table = Table("stage", "ms per clip", "share", "clips/s alone", box=None)
    for name, seconds in asdict(stages).items():
        alone = f"{1 / seconds:.0f}" if seconds > 1e-6 else ""
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / stages.total:.0%}", alone)
    table.add_row("all", f"{1000 * stages.total:.1f}", "100%", f"{1 / stages.total:.1f}")
    output_console().print(table)
    print(f"One worker reads {1 / stages.total:.1f} clips per second; {advice}.")
