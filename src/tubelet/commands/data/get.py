"""``tubelet data get``: its options. ``tubelet.commands.work.data.get`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import parse
from tubelet.data.medmnist import LICENSE, MEDMNIST3D, RECORD

PREFIX = "medmnist3d/"
_NAMES = "\n".join(
    f"  {PREFIX + name:<28}{'/'.join(map(str, known.num_volumes)):<14}{len(known.class_names)} classes"
    for name, known in MEDMNIST3D.items()
)
DESCRIPTION = f"""Download an open dataset from where it is published, with its checksum.

NAME is one of (train/val/test volumes):
{_NAMES}

The source is the Zenodo record of MedMNIST v2, {RECORD}, {LICENSE}; please cite Yang et al.,
Scientific Data 10, 41 (2023). An interrupted download goes on where it was. Without a network the command says within
seconds which file to place where, and how to check it.

examples:
  tubelet data get medmnist3d/organmnist3d
  tubelet data get medmnist3d/vesselmnist3d --size 64 --out data"""


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str, tyro.conf.Positional]  # which dataset
    size: Literal[28, 64] = 28  # voxels along each side
    out: Path = Path()  # folder for the file
    json: bool = False  # print path, checksum, classes and sizes as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data get", DESCRIPTION)
    from tubelet.commands.work.data.get import run

    return run(options)
