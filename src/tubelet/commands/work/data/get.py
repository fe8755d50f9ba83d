"""``tubelet data get``: downloads an open dataset and checks it."""

from __future__ import annotations

import json

from tubelet.commands.data.get import PREFIX, Options
from tubelet.data.download import download
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.data.medmnist import LICENSE, MEDMNIST3D, RECORD, file_name, url
from tubelet.errors import ConfigError, nearest
from tubelet.session.console_progress import ConsoleProgress


def run(options: Options) -> int:
    name = options.name.removeprefix(PREFIX)
    if name not in MEDMNIST3D or not options.name.startswith(PREFIX):
        known = [PREFIX + other for other in MEDMNIST3D]
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
