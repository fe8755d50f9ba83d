"""``tubelet data bench``: its options. ``tubelet.commands.work.data.bench`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.protocol import Protocol

DESCRIPTION = """Read random training clips of a dataset and say where the time goes.

One process with one thread reads them, whatever they are (videos, members of tar shards, frame folders, volumes),
after the files have been touched once, so that the figures are those of a worker whose disk is fast enough. The
packet index of videos is made first, beside the data, and kept. Clips per second of one worker times the number of
workers is what a training can read; a training that takes more clips than that waits.

examples:
  tubelet data bench my_clips
  tubelet data bench prepared/manifest.csv --num-clips 200 --augment.random_resized_crop 0.3 1.0
  tubelet data bench my_clips --protocol.num_frames 16 --protocol.frame_stride 4 --json"""


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
    from tubelet.commands.work.data.bench import run

    return run(options)
