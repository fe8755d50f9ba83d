"""``tubelet data prepare``: its options. ``tubelet.commands.work.data.prepare`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.prepare.config import PrepareConfig

DESCRIPTION = """Transcode every video of a dataset into a small H.264 file that decodes fast, and write its manifest.

MANIFEST is what `tubelet train` takes: a manifest or another CSV file, or a folder of class folders. OUT gets a file
for every video under the path it had, OUT/manifest.csv with the same splits, labels and segments, and an index of
all packets. Train on OUT/manifest.csv. A frame folder becomes a film, each picture at its time (--manifest.frame_fps
says how many there are a second), and a video in a tar shard a file. Volumes, DICOM files and pictures of 16 bits are
refused: an H.264 file would not keep their values.

--shards 500 then packs the files into tar files of at most 500 MB in OUT/shards (WebDataset's form), which suits file
systems that are slow with many small files, and removes the loose ones. The manifest says where each video lies in
its shard; training reads it there, as fast as from a file of its own.

The short side becomes 256 pixels (smaller videos keep their size), pictures are turned upright, every frame keeps its
time, sound is left out. docs/results/decode.json says how much faster such files decode, and benchmarks/decode.py
measures it. A second call goes on where the first was interrupted, and transcodes again only what has changed. Videos
that cannot be decoded to the end are named, left out of OUT/manifest.csv, and make the exit code 1.

--shard 2/8 transcodes every eighth video from the second on, so that several machines share one OUT; whichever part
ends last packs the files if asked and writes the manifest.

examples:
  tubelet data prepare my_clips prepared
  tubelet data prepare k400.csv /fast/k400 --num-workers 16 --quality high
  tubelet data prepare ssv2.csv /fast/ssv2 --shards 500
  tubelet data prepare k400.csv /shared/k400 --shard 2/8
  tubelet train --data prepared/manifest.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]  # manifest, .csv file or folder
    out: Annotated[Path, tyro.conf.Positional]  # folder for the prepared files; made if missing
    shard: str | None = None  # PART/PARTS: the videos of this part of the work, such as 2/8; --shards are tar files
    prepare: Annotated[PrepareConfig, tyro.conf.arg(name="")] = field(default_factory=PrepareConfig)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    json: bool = False  # print what was done as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data prepare", DESCRIPTION)
    from tubelet.commands.work.data.prepare import run

    return run(options)
