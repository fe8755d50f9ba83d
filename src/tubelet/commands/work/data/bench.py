"""``tubelet data bench``: measures how fast training clips are read, stage by stage."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.data.bench import Options
from tubelet.data.bench import Stages, measure_stages
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.prepare_dataset import is_prepared, other_kind
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

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


def run(options: Options) -> int:
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
