"""The runs that the page offers. The server reads what they say of themselves; their weights are loaded elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tubelet.errors import CheckpointError
from tubelet.inference.moments.film import moments_folder
from tubelet.inference.moments.head_file import HeadRecord, has_head, read_head
from tubelet.protocol import Protocol
from tubelet.weights.open_checkpoint import open_record

_MAX_FILES = 64  # of a checkpoint, that its key is made of


@dataclass(frozen=True, kw_only=True)
class OfferedRun:
    """A model to look with."""

    id: str
    name: str
    source: str  # as ``tubelet.load`` takes it
    labels: tuple[str, ...]
    head: HeadRecord | None  # of a model that gives every frame a label
    key: str  # changes with its files
    protocol: Protocol  # of its checkpoint


def offered_runs(sources: tuple[str, ...]) -> list[OfferedRun]:
    """The runs by what they say. Raises CheckpointError for one that cannot be used."""
    return [offered_run(f"r{number}", source) for number, source in enumerate(sources)]


def offered_run(run_id: str, source: str) -> OfferedRun:
    """A run by what it says. Raises CheckpointError."""
    folder = Path(source)
    if (folder / "best").is_dir():
        folder = folder / "best"
    record = open_record(str(folder) if folder.exists() else source)
    if record.protocol.number_scales:
        raise CheckpointError(f"{source}: gives numbers ({', '.join(record.labels)}), and the app shows classes")
    if has_head(folder):
        head = read_head(moments_folder(folder))[1]
        labels = head.labels[1:] if head.one else head.labels
    else:
        head, labels = None, record.labels
        if not labels:
            raise CheckpointError(f"{source}: an encoder without classes, which cannot classify; train one from it")
    used = str(folder) if folder.exists() else source
    name = folder.parent.name if folder.name == "best" else folder.name
    return OfferedRun(
        id=run_id,
        name=name or source,
        source=used,
        labels=labels,
        head=head,
        key=_key(used),
        protocol=record.protocol,
    )


def _key(source: str) -> str:
    """A hash of names, sizes and times of the files."""
    path, text = Path(source), source
    if path.exists():
        files = sorted(path.iterdir())[:_MAX_FILES] if path.is_dir() else [path]
        parts = [f"{f.name}\0{f.stat().st_size}\0{f.stat().st_mtime_ns}" for f in files if f.is_file()]
        text = "\n".join([str(path.resolve()), *parts])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
