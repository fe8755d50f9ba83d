"""Footage that shows what labeled data hold out for validation and test: found by content, under whatever name.

Only files of equal size are read. A copy that was encoded anew has other bytes and is not found.
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
    by_size = defaultdict[object, list[Sample]](list)
    for row in held:
        by_size[_size(labeled, row)].append(row)
    by_size.pop(None, None)
    of_labeled, of_footage = _Contents(labeled), _Contents(footage)
    found = []
    for done, row in enumerate(footage.samples, 1):
        alike = by_size.get(_size(footage, row), ())
        if alike and (content := of_footage.of(row)) is not None:
            same = (other for other in alike if of_labeled.of(other) == content)
            shown = {other.split for other in same if shared_part(row, other) > 0} - {row.split}
            found += [row] if shown else []
        on_row(done, len(footage))
    return found


class _Contents:
    """The content of rows, each file read once."""

    def __init__(self, manifest: Manifest) -> None:
        self._hasher, self._known = ContentHasher(manifest.root), dict[str, str | None]()

    def of(self, row: Sample) -> str | None:
        name = row_path(row)
        if name not in self._known:
            self._known[name] = self._hasher.content_of(row, lambda seconds: None)
        return self._known[name]


def _size(manifest: Manifest, row: Sample) -> object:
    """What files of equal content share; None where the file is not there."""
    path: Path = manifest.path_of(row)
    with suppress(OSError, DataError):
        if row.entry is not None:
            return member_range(path, row.entry)[1] if is_shard(path) else (path.stat().st_size, row.entry)
        if path.is_dir():
            sizes = [entry.stat().st_size for entry in os.scandir(path) if entry.is_file()]
            return len(sizes), sum(sizes), "folder"
        return path.stat().st_size
    return None
