"""What prepared files were made from, as the ledger beside them says: known again under any name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.loading.content_hash import ContentHasher
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample
from tubelet.files import json_lines

LEDGER = "prepared.jsonl"
_FILE, _CONTENT, _BYTES = "file", "source_content", "source_bytes"  # in a line of the ledger


@dataclass(frozen=True)
class Origin:
    """The source of one prepared file."""

    content: str  # as of ``ContentHasher``
    num_bytes: int


def origin_fields(source: Path, entry: str | None, num_bytes: int) -> dict[str, Any]:
    """What the ledger keeps of the source of a file; nothing of a source that went away."""
    row = Sample(path=source.name, labels=(), split="train", entry=entry)
    content = ContentHasher(source.parent).content_of(row, lambda seconds: None)
    return {} if content is None else {_CONTENT: content, _BYTES: num_bytes}


def location_fields(location: str, entry: str | None) -> dict[str, Any]:
    """What the ledger keeps of where a prepared file lies; of one in a shard it has that already."""
    return {_FILE: location} if entry is None else {}


def origins(manifest: Manifest) -> dict[tuple[str, str | None], Origin]:
    """The sources of a manifest's files, by path and entry. Empty where none of them is known to be prepared.

    Files that a version before prepared have none, as their lines do not say it.
    """
    found: dict[tuple[str, str | None], Origin] = {}
    for line in json_lines(manifest.root / LEDGER):
        if not isinstance(line, dict) or not isinstance(line.get(_CONTENT), str):
            continue
        if "shard" in line:
            found[line["shard"], line["entry"]] = Origin(line[_CONTENT], line[_BYTES])
        elif _FILE in line:
            found[line[_FILE], None] = Origin(line[_CONTENT], line[_BYTES])
    return found
