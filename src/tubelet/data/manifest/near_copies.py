"""Near-copies among the files of a dataset: what shows the same footage, mirrored, brighter, re-encoded or shifted.

Where nothing else says what belongs together, they decide. They are looked for once, and the answer is stored beside
the data, or beside the manifest where that folder cannot be written. Of a file, the first minute counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.fingerprints import Fingerprint, Shelf, fingerprint
from tubelet.data.manifest.groups import Union
from tubelet.data.manifest.quarantine import ManifestRow
from tubelet.data.sources.shards import is_volume_row
from tubelet.files import write_atomically

STORE_NAME = ".tubelet-near-copies.json"
ALIKE = 0.9  # likeness from which two clips are near-copies
MAX_CLIPS, MAX_SECONDS = 5_000, 120.0  # for what a command does unasked
SWALLOWED, FEW_FILES = 0.5, 4  # share of a class in one group, of at least so many files, that makes groups useless
SWALLOWED_CLASS = "files (near-copies would have swallowed a class)"  # what a split then keeps together
NOT_LOOKED = "files, near-copies not looked for"  # what it keeps together then
_VERSION = 2  # of the stored answer; others are not read
_KEPT = 8  # answers about different sets of files in one store
_SHELF_PICTURES = 30_000  # of the clips that are compared at once

OnFile = Callable[[int, int], None]  # (files done, files to do)


@dataclass(frozen=True, kw_only=True)
class NearCopies:
    """What was found among some files."""

    groups: tuple[tuple[str, ...], ...]  # names of the files that belong together, two or more each
    num_files: int
    not_looked: str = ""  # why they were not looked for; empty means that they were


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A file to look at."""

    name: str  # path in the manifest, or entry
    file: Path
    entry: str | None
    fps: float | None


def find_near_copies(
    root: Path,
    rows: Sequence[ManifestRow],
    folder: Path | None = None,
    *,
    max_clips: int | None = MAX_CLIPS,
    max_seconds: float | None = MAX_SECONDS,
    skipped: Collection[str] = (),
    on_file: OnFile = lambda done, total: None,
) -> NearCopies:
    """Look for near-copies among the videos and frame folders of a dataset, or read the stored answer.

    Args:
        root: folder of the data.
        rows: Row or Sample of the dataset.
        folder: of the manifest file, for the answer where ``root`` cannot be written. None means no other.
        max_clips: more files than this are not looked at. None means any number.
        max_seconds: from then on nothing more is looked at, and nothing is found. None means any time.
        skipped: names of files that are not opened, because they are known to be broken.
        on_file: called as files are read.
    """
    clips = tuple(
        {
            row.entry or row.path: Clip(name=row.entry or row.path, file=root / row.path, entry=row.entry, fps=row.fps)
            for row in rows
            if not is_volume_row(root / row.path, row.entry)
        }.values()
    )
    if not clips:
        return NearCopies(groups=(), num_files=0)
    stores = [place / STORE_NAME for place in dict.fromkeys((root, folder)) if place is not None]
    key = _key(clips)
    known = next((found for store in stores if (found := _stored(store, key)) is not None), None)
    if known is not None and not (known.not_looked and max_clips is None):
        return known
    if max_clips is not None and len(clips) > max_clips:
        return not_looked_at(len(clips), max_clips)
    clips = tuple(clip for clip in clips if clip.name not in skipped)
    seconds = float("inf") if max_seconds is None else max_seconds
    found = _find(clips, time.monotonic() + seconds, on_file)
    if found is None:
        reason = f"{seconds / 60:.0f} minutes were not enough for {len(clips):,} files"
        found = NearCopies(groups=(), num_files=len(clips), not_looked=reason)
    if found.not_looked or found.num_files == len(clips):  # a broken file may be mended
        _store(stores, key, found)
    return found


def not_looked_at(num_files: int, max_clips: int) -> NearCopies:
    """The answer where there are too many files."""
    return NearCopies(groups=(), num_files=num_files, not_looked=f"there are more than {max_clips:,} files")


def grouped_by_near_copies(rows: list[Row], found: NearCopies, notes: list[str]) -> tuple[list[Row], str]:
    """The rows with the groups of near-copies, and what is kept together, in words.

    Where one group has most of a class, a split by groups could not test that class: files decide, and a note says so.
    """
    if not found.num_files:
        return rows, "files"
    if found.not_looked:
        notes.append(f"near-copies were not looked for: {found.not_looked}; `tubelet data scan` does")
        return rows, NOT_LOOKED
    group_of = {name: names[0] for names in found.groups for name in names}
    totals: Counter[str] = Counter()
    shares: Counter[tuple[str, str]] = Counter()
    for name, row in {row.entry or row.path: row for row in rows}.items():
        totals.update(label for label in row.labels if label)
        if name in group_of:
            shares.update((label, group_of[name]) for label in row.labels if label)
    for (label, group), count in shares.most_common():
        total = totals[label]
        if total >= FEW_FILES and count > SWALLOWED * total:
            notes.append(
                f"near-copies: {count} of the {total} files of class '{label}' look like {group}, so that files are "
                "split each for itself and test may show what training has seen; a column group or --group-pattern "
                "says better what belongs together"
            )
            return rows, SWALLOWED_CLASS
    if not found.groups:
        return rows, "files, no near-copies found"
    count = sum(map(len, found.groups))
    notes.append(
        f"near-copies: {count} of {found.num_files} files form {len(found.groups)} "
        f"group{'s' * (len(found.groups) != 1)}, which stay together; the largest has {max(map(len, found.groups))}"
    )
    rows = [replace(row, group=group_of.get(row.entry or row.path)) for row in rows]
    return rows, "near-copies"


def link_near_copies(prints: Mapping[str, Fingerprint], deadline: float = float("inf")) -> list[tuple[str, str, float]]:
    """All pairs of clips that are near-copies, with their likeness.

    Raises:
        TimeoutError: the deadline (``time.monotonic``) has passed.
    """
    names = sorted(prints, key=lambda name: len(prints[name]))  # clips of like length lie on one shelf
    pairs, start = list[tuple[str, str, float]](), 0
    while start < len(names):
        end = start + 1
        while end < len(names) and len(prints[names[end]]) * (end + 1 - start) <= _SHELF_PICTURES:
            end += 1
        shelf = Shelf([prints[name] for name in names[start:end]])
        for place, name in enumerate(names[:end]):
            if time.monotonic() > deadline:
                raise TimeoutError
            later = max(0, place + 1 - start)  # each pair once
            likeness = shelf.likeness(prints[name])[later:]
            pairs += [(name, names[start + later + i], float(likeness[i])) for i in (likeness >= ALIKE).nonzero()[0]]
        start = end
    return pairs


def groups_of(pairs: Sequence[tuple[str, str, float]]) -> tuple[tuple[str, ...], ...]:
    """The clips that pairs link, directly or through others."""
    union, members = Union(), dict[str, set[str]]()
    for first, second, _ in pairs:
        union.join(first, second)
    for first, second, _ in pairs:
        members.setdefault(union.name(first), set()).update((first, second))
    return tuple(sorted(tuple(sorted(names)) for names in members.values()))


def _find(clips: Sequence[Clip], deadline: float, on_file: OnFile) -> NearCopies | None:
    """None means that the deadline passed."""
    prints = _fingerprints(clips, deadline, on_file)
    if prints is None:
        return None
    try:
        pairs = link_near_copies(prints, deadline)
    except TimeoutError:
        return None
    return NearCopies(groups=groups_of(pairs), num_files=len(prints))


def _fingerprints(clips: Sequence[Clip], deadline: float, on_file: OnFile) -> dict[str, Fingerprint] | None:
    """Of the files that can be read; training and the scan name the others. None means that the deadline passed.

    Files are read by threads that do not keep the process alive: a decoder that hangs costs the time to the deadline.
    """
    todo: queue.SimpleQueue[Clip] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Fingerprint | None]] = queue.SimpleQueue()
    for clip in clips:
        todo.put(clip)

    def read() -> None:
        while True:
            try:
                clip = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((clip.name, fingerprint(clip.file, clip.entry, clip.fps)))
            except Exception:  # whatever a broken file makes a decoder raise; training and the scan name it
                done.put((clip.name, None))

    for _ in range(min(len(clips), os.cpu_count() or 1)):
        threading.Thread(target=read, daemon=True).start()
    prints: dict[str, Fingerprint] = {}
    for number in range(len(clips)):
        try:
            name, found = done.get(timeout=max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX)))
        except queue.Empty:
            while not todo.empty():
                todo.get_nowait()
            return None
        if found is not None:
            prints[name] = found
        on_file(number + 1, len(clips))
    return prints


def _key(clips: Sequence[Clip]) -> str:
    """What the files are: names, sizes and times."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.name):
        try:
            status = clip.file.stat()
        except OSError:
            continue  # a missing file is named elsewhere
        digest.update(f"{clip.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@lru_cache
def _remembered(key: str) -> list[NearCopies]:
    """The answer of this process, where nothing can be written."""
    return []


def _stored(store: Path, key: str) -> NearCopies | None:
    content = _read(store).get(key)
    if content is None:
        return next(iter(_remembered(key)), None)
    return NearCopies(
        groups=tuple(tuple(names) for names in content["groups"]),
        num_files=content["num_files"],
        not_looked=content["not_looked"],
    )


def _read(store: Path) -> dict[str, Any]:
    """The answers by key. Empty where there is no store, or one of another version."""
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return {}
    answers: dict[str, Any] = content["answers"]
    return answers


def _store(stores: Sequence[Path], key: str, found: NearCopies) -> None:
    """Keep the answer in the first store that can be written, else in this process."""
    answer = {"groups": found.groups, "num_files": found.num_files, "not_looked": found.not_looked}
    for store in stores:
        answers = {name: kept for name, kept in _read(store).items() if name != key}
        kept = dict(list(answers.items())[-_KEPT + 1 :]) | {key: answer}
        try:
            write_atomically(store, json.dumps({"version": _VERSION, "answers": kept}) + "\n")
        except OSError:
            continue
        return
    _remembered(key)[:] = [found]
