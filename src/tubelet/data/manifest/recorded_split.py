"""The split that a run was made with: recorded in ``run.json`` and in its checkpoints, and kept when they are read.

They hold it under ``split``: a line of text, the number of groups of each split, and digests of what was held out. Runs
of versions without groups hold none of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tubelet.data.layouts.config import MAX_LOOKED_AT, ManifestConfig
from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.manifest import Manifest

KEY = "split"  # in run.json and in the provenance of checkpoints
_DIGEST_BYTES = 6  # of the name of a file: a chance of 1 in 50,000 that two of 100,000 are mixed up
_DIGEST_BYTES_OF_MANY = 10  # of more rows than ``MAX_LOOKED_AT``


@dataclass(frozen=True, kw_only=True)
class RecordedSplit:
    """A split that was made for a run, by digests of the names of the files that it held out."""

    held_out: dict[str, str]  # of each split that was made: base64 of the digests, in the order of the manifest
    digest_bytes: int = _DIGEST_BYTES

    @classmethod
    def of(cls, manifest: Manifest) -> RecordedSplit | None:
        """The split of a manifest. None means that the data state it themselves."""
        size = _DIGEST_BYTES if len(manifest) <= MAX_LOOKED_AT else _DIGEST_BYTES_OF_MANY
        texts = {}
        for split in manifest.split_origin.made:
            names = manifest.rows.of_split(split).entries_or_paths()
            digests = dict.fromkeys(_digest(name, size) for name in names)
            texts[split] = base64.b64encode(b"".join(digests)).decode()
        return cls(held_out=texts, digest_bytes=size) if texts else None

    def applied_to(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with their recorded splits; what was not held out is trained on."""
        splits = self.splits_of((row.entry or row.path).encode() for row in rows)
        return [replace(row, split=split) if is_pooled(row) else row for row, split in zip(rows, splits, strict=True)]

    def splits_of(self, names: Iterable[bytes]) -> Iterator[str]:
        """The split of each file, by its name as UTF-8."""
        splits, size = dict[bytes, str](), self.digest_bytes
        for split, text in self.held_out.items():
            whole = base64.b64decode(text)
            splits |= dict.fromkeys((whole[start : start + size] for start in range(0, len(whole), size)), split)
        return (splits.get(_digest(name, size), "train") for name in names)


def _digest(name: bytes, size: int) -> bytes:
    return hashlib.blake2b(name, digest_size=size).digest()


def is_pooled(row: Row) -> bool:
    """Whether splits are made of a row."""
    return row.split in (None, "train")


def as_recorded(config: ManifestConfig, facts: Mapping[str, Any]) -> tuple[ManifestConfig, RecordedSplit | None]:
    """How the data of a run are read again.

    Args:
        facts: its ``run.json``, or the provenance of its checkpoints; empty for a new run.
    """
    if "data_fingerprint" not in facts:
        return config, None
    if KEY not in facts:  # a run of a version that split by files
        return replace(config, split_by="files", group_column=None, group_pattern=None), None
    held_out, size = facts[KEY].get("held_out"), facts[KEY].get("digest_bytes", _DIGEST_BYTES)
    return config, RecordedSplit(held_out=held_out, digest_bytes=size) if held_out else None


def split_facts(manifest: Manifest) -> dict[str, Any]:
    """What ``run.json`` and checkpoints hold of the split of a run."""
    recorded = RecordedSplit.of(manifest)
    is_long = recorded is not None and recorded.digest_bytes != _DIGEST_BYTES
    return {
        "text": manifest.split_text,
        "num_groups": {name: manifest.split(name).num_groups for name in manifest.splits},
        "held_out": {} if recorded is None else recorded.held_out,
        **({"digest_bytes": _DIGEST_BYTES_OF_MANY} if is_long else {}),
    }
