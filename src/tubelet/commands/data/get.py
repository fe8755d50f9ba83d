"""``tubelet data get``: downloads an open dataset and checks it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress
from tubelet.data.download import download
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.data.medmnist import LICENSE, MEDMNIST3D, RECORD, file_name, url
from tubelet.errors import ConfigError, nearest

_PREFIX = "medmnist3d/"
_NAMES = "\n".join(
    f"  {_PREFIX + name:<28}{'/'.join(map(str, known.num_volumes)):<14}{len(known.class_names)} classes"
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
    name = options.name.removeprefix(_PREFIX)
    if name not in MEDMNIST3D or not options.name.startswith(_PREFIX):
        known = [_PREFIX + other for other in MEDMNIST3D]
        raise ConfigError(f"no dataset '{options.name}' to get{nearest(options.name, known)}")
    dataset, target = MEDMNIST3D[name], options.out / file_name(name, options.size)
    with ConsoleProgress(f"get {name}") as progress:
        new = download(url(name, options.size), target, dataset.md5[options.size], progress.advance)
        manifest = read_manifest(target, ManifestConfig(layout="medmnist3d"))
        progress.note("downloaded and checked" if new else "was there already, with the right checksum")
    splits = {split: len(manifest.split(split)) for split in manifest.splits}
    facts = {
        "path": str(target),
        "md5": dataset.md5[options.size],
        "source": url(name, options.size),
        "license": LICENSE,
        "classes": list(dataset.class_names),
        "splits": splits,
        "fingerprint": manifest.fingerprint,
    }
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print(f"file         {target} ({LICENSE}, {RECORD})")
        print(f"volumes      {', '.join(f'{split} {count}' for split, count in splits.items())}")
        print(f"classes      {', '.join(dataset.class_names)}")
        print(f"next         tubelet data manifest medmnist3d {target} --out {name}.csv")
    return 0
