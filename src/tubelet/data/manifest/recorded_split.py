"""The split that a run was made with: recorded in ``run.json`` and in its checkpoints, and kept when they are read.

They hold it under ``split``: a line of text, the number of groups of each split, and digests of what was held out. Runs
of versions without groups hold none of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.groups import Grouped
from tubelet.data.manifest.manifest import Manifest

KEY = "split"  # in run.json and in the provenance of checkpoints
_DIGEST_BYTES = 6  # of the name of a file: a chance of 1 in 50,000 that two of 100,000 are mixed up


@dataclass(frozen=True, kw_only=True)
class RecordedSplit:
    """A split that was made for a run, by digests of the names of the files that it held out."""

    held_out: dict[str, str]  # of each split that was made: base64 of the digests, in the order of the manifest

    @classmethod
    def of(cls, manifest: Manifest) -> RecordedSplit | None:
        """The split of a manifest. None means that the data state it themselves."""
        digests: dict[str, dict[bytes, None]] = {split: {} for split in manifest.split_origin.made}
        for sample in manifest.samples:
            if sample.split in digests:
                digests[sample.split][_digest(sample)] = None
        texts = {split: base64.b64encode(b"".join(found)).decode() for split, found in digests.items()}
        return cls(held_out=texts) if texts else None

    def applied_to(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with their recorded splits; what was not held out is trained on."""
        splits: dict[bytes, str] = {}
        for split, text in self.held_out.items():
            whole = base64.b64decode(text)
            parts = (whole[start : start + _DIGEST_BYTES] for start in range(0, len(whole), _DIGEST_BYTES))
            splits |= dict.fromkeys(parts, split)
        return [replace(row, split=splits.get(_digest(row), "train")) if is_pooled(row) else row for row in rows]


def _digest(row: Grouped) -> bytes:
    return hashlib.blake2b((row.entry or row.path).encode(), digest_size=_DIGEST_BYTES).digest()


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
    held_out = facts[KEY].get("held_out")
    return config, RecordedSplit(held_out=held_out) if held_out else None


def split_facts(manifest: Manifest) -> dict[str, Any]:
    """What ``run.json`` and checkpoints hold of the split of a run."""
    recorded = RecordedSplit.of(manifest)
    return {
        "text": manifest.split_text,
        "num_groups": {name: manifest.split(name).num_groups for name in manifest.splits},
        "held_out": {} if recorded is None else recorded.held_out,
    }
