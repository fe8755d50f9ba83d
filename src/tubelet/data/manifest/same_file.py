"""One file under several spellings or names: found by where a path leads, and by content.

A file may be spelled ``x.mp4``, ``./x.mp4``, absolute, or through links: all rows take the first spelling, so that it
is one file for splits, quarantine and scan. Copies have another name and the same bytes. Of data with more than
``MAX_ROWS`` rows no file is looked at: spellings are compared as text, and links and copies are left to the scan.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tubelet.data.layouts.rows import Row, some
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.manifest.segments import extent, segment_text, show_the_same
from tubelet.errors import DataError

MAX_ROWS = 100_000
_HEAD_BYTES = 1 << 16  # compared before whole files are read


class Spellings:
    """The first spelling of each file that was asked for.

    Args:
        root: folder that paths are relative to.
        looks: whether files are looked at, so that links are followed.
    """

    def __init__(self, root: Path, *, looks: bool) -> None:
        self._root, self._looks = root.absolute(), looks
        self._first: dict[object, str] = {}  # by what identifies a file
        self._known: dict[str, str] = {}  # by spelling

    def first(self, path: str) -> str:
        """How the file of ``path`` was spelled first."""
        if path not in self._known:
            self._known[path] = self._first.setdefault(self._identity(path), path)
        return self._known[path]

    @property
    def several(self) -> dict[str, str]:
        """Every other spelling, with the first."""
        return {path: first for path, first in self._known.items() if path != first}

    def _identity(self, path: str) -> object:
        whole = os.path.normpath(self._root / path)
        if self._looks:
            try:
                status = os.stat(whole)
            except OSError:
                return whole  # it does not exist, or lies inside an archive
            if status.st_ino:
                return status.st_dev, status.st_ino
        return whole


def spelled_alike(rows: Sequence[Row], spellings: Spellings, notes: list[str]) -> list[Row]:
    """The rows, each file spelled as in its first row. ``notes`` gets a line if that changes any."""
    first = {row.path: spellings.first(row.path) for row in rows}
    if several := spellings.several:
        examples = [f"{other} is {one}" for other, one in several.items()]
        notes.append(f"{len(several)} files are spelled in several ways and are one file each: {some(examples)}")
    return [row if first[row.path] == row.path else replace(row, path=first[row.path]) for row in rows]


def copies(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Files whose bytes are those of an earlier file among the ``paths`` of rows, with that file.

    Only files of equal size are opened. Folders and what does not exist have no copies.
    """
    by_size = defaultdict(list)
    for path in dict.fromkeys(paths) if len(paths) <= MAX_ROWS else ():
        file = root / path
        if file.is_file() and (size := file.stat().st_size):
            by_size[size].append(path)
    heads = _alike(by_size.values(), lambda path: _digest_of(root / path, _HEAD_BYTES))
    whole = _alike(heads, lambda path: _digest_of(root / path, None))
    return {path: first for first, *others in whole for path in others}


def _alike(groups: Iterable[Sequence[str]], digest: Callable[[str], bytes]) -> list[list[str]]:
    """The groups parted further by a digest; what is alone is left out."""
    parted = []
    for group in groups:
        parts = defaultdict(list)
        for path in group if len(group) > 1 else ():
            parts[digest(path)].append(path)
        parted += [part for part in parts.values() if len(part) > 1]
    return parted


def _digest_of(file: Path, num_bytes: int | None) -> bytes:
    try:
        status = file.stat()
        return _digest(file, num_bytes, status.st_size, status.st_mtime_ns)
    except OSError:  # the same as no other; whoever decodes it says what is wrong
        return os.fsencode(file)


def content_of(file: Path) -> str:
    """32 hex digits of the bytes of a film, or of the names and bytes of a frame folder's files.

    They are those of the same film wherever it lies, and others once it is replaced under its path.

    Raises:
        OSError: it cannot be read; the error names the file.
    """
    whole = hashlib.blake2b(digest_size=16)
    for part in sorted(child for child in file.rglob("*") if child.is_file()) if file.is_dir() else (file,):
        status = part.stat()
        whole.update(part.relative_to(file).as_posix().encode() + b"\0")
        whole.update(_digest(part.resolve(), None, status.st_size, status.st_mtime_ns))
    return whole.hexdigest()


@lru_cache(MAX_ROWS)
def _digest(file: Path, num_bytes: int | None, size: int, time_ns: int) -> bytes:
    """Of the first bytes of a file or of all. Size and time tell files that changed since, in sweeps of many runs."""
    with file.open("rb") as stream:
        if num_bytes is not None:
            return hashlib.blake2b(stream.read(num_bytes), digest_size=16).digest()
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()


def check_files(manifest: Manifest) -> None:
    """Refuse data with the same file in two splits, or with two labels where a video has one.

    Segments of one file are different videos unless they share half of the shorter one.

    Raises:
        DataError: the message names the first rows and counts all.
    """
    same = copies(manifest.root, [*manifest.rows.paths()]) if len(manifest) <= MAX_ROWS else {}
    by_file: dict[tuple[str, str | None], list[Sample]] = defaultdict(list)
    for row in manifest.samples if same else manifest.rows.of_repeated_files():
        by_file[same.get(row.path, row.path), row.entry].append(row)
    shared = {file: rows for file, rows in by_file.items() if len(rows) > 1}
    leaks = [pair for rows in shared.values() for pair in _in_two_splits(rows)]
    if leaks:
        raise DataError(_message(manifest, leaks, "in two splits", lambda row: row.split))
    if len(manifest.class_names) != 1 or manifest.multi_label:
        return
    (names,) = manifest.class_names.values()
    conflicts = [pair for rows in shared.values() for pair in _of_two_labels(rows)]
    if conflicts:
        text = _message(manifest, conflicts, "under two labels", lambda row: names[row.labels[0]])
        raise DataError(f"{text}; where a video may have several labels, set label_separator")


_Pair = tuple[Sample, Sample]


def _message(manifest: Manifest, pairs: Sequence[_Pair], what: str, which: Callable[[Sample], str]) -> str:
    named = [" = ".join(f"{row_path(row)}{segment_text(row)} ({which(row)})" for row in pair) for pair in pairs]
    videos = f"{len(pairs)} videos stand" if len(pairs) > 1 else "1 video stands"
    return (
        f"{manifest.root}: {videos} {what}: {some(named, '; ')}; correct the rows, or leave some out by a quarantine "
        "list (`tubelet data scan` writes one)"
    )


def _in_two_splits(rows: Sequence[Sample]) -> list[_Pair]:
    """The rows of one file that show what an earlier row shows, in another split."""
    if len({row.split for row in rows}) == 1:
        return []
    found, open_rows = [], list[Sample]()
    for row in sorted(rows, key=lambda row: extent(row)[0]):
        start = extent(row)[0]
        open_rows = [other for other in open_rows if extent(other)[1] > start or extent(other)[2] != extent(row)[2]]
        pair = next((o for o in open_rows if o.split != row.split and show_the_same(o, row)), None)
        if pair is not None:
            found.append((pair, row))
        open_rows.append(row)
    return found


def _of_two_labels(rows: Sequence[Sample]) -> list[_Pair]:
    """The rows of one file that show the same segment as an earlier row, with another label."""
    first: dict[object, Sample] = {}
    pairs = []
    for row in rows:
        earlier = first.setdefault(row.segment, row)
        if earlier.labels != row.labels and -1 not in (*earlier.labels, *row.labels):
            pairs.append((earlier, row))
    return pairs
