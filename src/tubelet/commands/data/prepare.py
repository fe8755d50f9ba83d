"""``tubelet data prepare``: transcodes the videos of a dataset so that training decodes them faster."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.files import check_path

DESCRIPTION = """Transcode every video of a dataset into a small H.264 file that decodes fast, and write its manifest.

MANIFEST is what `tubelet train` takes: a manifest or another CSV file, or a folder of class folders. OUT gets a file
for every video under the path it had, OUT/manifest.csv with the same splits, labels and segments, and an index of
all packets. Train on OUT/manifest.csv.

--shards 500 then packs the files into tar files of at most 500 MB in OUT/shards (WebDataset's form), which suits file
systems that are slow with many small files, and removes the loose ones. The manifest says where each video lies in
its shard; training reads it there, as fast as from a file of its own.

The short side becomes 256 pixels (smaller videos keep their size), pictures are turned upright, every frame keeps its
time, sound is left out. docs/results/decode.json says how much faster such files decode, and benchmarks/decode.py
measures it. A second call goes on where the first was interrupted, and transcodes again only what has changed. Videos
that cannot be decoded to the end are named, left out of OUT/manifest.csv, and make the exit code 1.

examples:
  tubelet data prepare my_clips prepared
  tubelet data prepare k400.csv /fast/k400 --num-workers 16 --quality high
  tubelet data prepare ssv2.csv /fast/ssv2 --shards 500
  tubelet train --data prepared/manifest.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]  # manifest, .csv file or folder
    out: Annotated[Path, tyro.conf.Positional]  # folder for the prepared files; made if missing
    prepare: Annotated[PrepareConfig, tyro.conf.arg(name="")] = field(default_factory=PrepareConfig)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    json: bool = False  # print what was done as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data prepare", DESCRIPTION)
    check_path(options.out, "OUT", is_written=True)
    manifest = read_manifest(options.data, options.manifest)
    with ConsoleProgress("prepare") as progress:
        for note in manifest.notes:
            progress.note(note)
        done = prepare(manifest, options.out, options.prepare, progress.advance)
        for line in done.failures.values():
            progress.note(line)
    if options.json:
        content = {
            "manifest": str(done.manifest),
            "num_files": done.num_files,
            "num_made": done.num_made,
            "source_bytes": done.source_bytes,
            "prepared_bytes": done.prepared_bytes,
            "failures": done.failures,
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        kept = done.num_files - done.num_made - len(done.failures)
        print(f"{done.num_made} files transcoded, {kept} were done before, {len(done.failures)} failed")
        print(f"{done.source_bytes / 1e6:.1f} MB became {done.prepared_bytes / 1e6:.1f} MB; train on {done.manifest}")
    if done.failures:
        print(
            f"tubelet: error: {len(done.failures)} of {done.num_files} videos could not be transcoded and are left out "
            f"of {done.manifest}; replace them and run the command again",
            file=sys.stderr,
        )
    return 1 if done.failures else 0
