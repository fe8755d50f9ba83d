"""The exact content of the files that rows are read from, as hashes: known again under any name, on any machine.

A file is hashed with the first row that is read of it, when its bytes are in the system's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.sources.shards import is_shard, member_range
from tubelet.errors import DataError

MAX_FILES = 100_000  # of more, none is hashed
_BYTES_PER_SECOND = 10e6  # of a slow disk, for the time limit of a row
_CHUNK_BYTES = 1 << 20


def may_hash(manifest: Manifest) -> bool:
    """Whether the files of a manifest are few enough, and are those that the rows were filmed in."""
    return manifest.layout != LAYOUT and (len(manifest) <= MAX_FILES or manifest.rows.num_files <= MAX_FILES)


class ContentHasher:
    """Hashes the files of rows. An ``.npz`` file is hashed once, for all its entries.

    Args:
        root: folder that paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._archives = root, dict[Path, str]()

    def content_of(self, row: Sample, allow: Callable[[float], None]) -> str | None:
        """32 hex digits of a file, of the pictures of a folder, or of a member of a shard; None if it went away.

        Those of an ``.npz`` file have the entry behind them. ``allow`` is given the seconds that it may take.
        """
        with suppress(OSError, DataError):  # it was read a moment ago, and went away
            path = self._root / row.path
            if row.entry is None or is_shard(path):
                return _hash(path, row.entry, allow)
            if path not in self._archives:
                self._archives[path] = _hash(path, None, allow)
            return f"{self._archives[path]}:{row.entry}"
        return None


def contents_of(manifest: Manifest, on_file: Callable[[int, int], None]) -> dict[str, str]:
    """The hash of each file of a manifest, by the file of its rows (``row_path``); of none where ``may_hash`` is false.

    Args:
        on_file: called with the files that were hashed, and their number.
    """
    if not may_hash(manifest):
        return {}
    hasher, contents = ContentHasher(manifest.root), dict[str, str]()
    rows = list({row_path(row): row for row in manifest.samples}.items())
    for done, (name, row) in enumerate(rows, 1):
        if content := hasher.content_of(row, lambda seconds: None):
            contents[name] = content
        on_file(done, len(rows))
    return contents


def _hash(path: Path, entry: str | None, allow: Callable[[float], None]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    pictures = sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
    for file in pictures:
        start, size = member_range(file, entry) if entry else (0, file.stat().st_size)
        allow(size / _BYTES_PER_SECOND)
        for part in _parts(file, start, size):
            digest.update(part)
    return digest.hexdigest()


def _parts(file: Path, start: int, size: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(start)
        while size > 0 and (part := stream.read(min(size, _CHUNK_BYTES))):
            yield part
            size -= len(part)
