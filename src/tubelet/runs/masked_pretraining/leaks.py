"""Footage that shows what labeled data hold out for validation and test: found by content, under whatever name.

A file that ``tubelet data prepare`` made is compared by what it was made from, too (``data.prepare.made_from``). Only
files of equal size are read. Another copy that was encoded anew has other bytes and is not found.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tubelet.data.loading.content_hash import ContentHasher
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.manifest.segments import shared_part
from tubelet.data.prepare.made_from import Origin, origins
from tubelet.data.sources.shards import is_shard, member_range
from tubelet.errors import DataError


def rows_held_out(
    footage: Manifest, labeled: Manifest, on_row: Callable[[int, int], None] = lambda done, total: None
) -> list[Sample]:
    """The rows of ``footage`` that show any part of a validation or test row of ``labeled``.

    Validation rows of the footage, from which nothing is learned, may be validation rows of the labeled data too.

    Args:
        on_row: called with the rows of ``footage`` that were looked at, and their number.
    """
    held = [row for row in labeled.samples if row.split != "train"]
    of_labeled, of_footage = _Contents(labeled), _Contents(footage)
    by_size, found = defaultdict[object, list[Sample]](list), []
    for row in held:
        for size in of_labeled.sizes(row):
            by_size[size].append(row)
    for done, row in enumerate(footage.samples, 1):
        if alike := [other for size in of_footage.sizes(row) for other in by_size.get(size, ())]:
            same = (other for other in alike if of_labeled.of(other) & of_footage.of(row))
            shown = {other.split for other in same if shared_part(row, other) > 0} - {row.split}
            found += [row] if shown else []
        on_row(done, len(footage))
    return found


def how_compared(footage: Manifest, labeled: Manifest) -> str:
    """In words, how ``rows_held_out`` compares these two, and what it does not find."""
    if not (origins(footage) or origins(labeled)):
        return "compared by content; re-encoded copies are not looked for"
    made = "prepared files also by what they were made from"
    return f"compared by content, {made}; other re-encoded copies are not looked for"


class _Contents:
    """The content of rows, and what prepared ones were made from; each file is read once."""

    def __init__(self, manifest: Manifest) -> None:
        self._hasher, self._known = ContentHasher(manifest.root), dict[str, set[str]]()
        self._manifest, self._origins = manifest, origins(manifest)

    def of(self, row: Sample) -> set[str]:
        """The contents that a row is known by; none where its file is not there."""
        name = row_path(row)
        if name not in self._known:
            content, origin = self._hasher.content_of(row, lambda seconds: None), self._origin(row)
            self._known[name] = {*([] if content is None else [content]), *([] if origin is None else [origin.content])}
        return self._known[name]

    def sizes(self, row: Sample) -> set[object]:
        """The sizes of these contents."""
        origin = self._origin(row)
        return {_size(self._manifest, row), None if origin is None else origin.num_bytes} - {None}

    def _origin(self, row: Sample) -> Origin | None:
        return self._origins.get((row.path, row.entry))


def _size(manifest: Manifest, row: Sample) -> object:
    """What files of equal content share; None where the file is not there."""
    path: Path = manifest.path_of(row)
    with suppress(OSError, DataError):
        if row.entry is not None:
            return member_range(path, row.entry)[1] if is_shard(path) else (path.stat().st_size, row.entry)
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return path.stat().st_size
    return None
