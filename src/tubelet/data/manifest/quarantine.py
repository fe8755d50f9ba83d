"""Quarantine: the list of videos that are left out, with the reason for each, as a CSV file that people can edit.

Columns: path (relative to the root of the dataset, or absolute; what lies in an .npz file or a tar shard as
``file.npz:entry``, ``file.tar:entry``), reason, and optionally split, start_seconds and end_seconds. An empty cell
matches anything: a line with a path and nothing else leaves out every row of that file. ``tubelet data scan`` writes
the list, ``ManifestConfig.quarantine`` names it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tubelet.errors import DataError, reason
from tubelet.files import write_atomically

COLUMNS = ("path", "reason", "split", "start_seconds", "end_seconds")
_MAX_NAMED = 3  # number of files that one note names


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One line of the list. None matches anything."""

    path: str
    reason: str
    split: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@runtime_checkable
class ManifestRow(Protocol):
    """The fields that rows of a layout and of a manifest share."""

    @property
    def path(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def start_seconds(self) -> float | None: ...
    @property
    def end_seconds(self) -> float | None: ...
    @property
    def entry(self) -> str | None: ...


def row_path(row: ManifestRow) -> str:
    """The file of a row as lists name it, with the address inside an .npz file or a tar shard."""
    return row.path if row.entry is None else f"{row.path}:{row.entry}"


def write_quarantine(path: Path, lines: Iterable[Quarantined]) -> None:
    """Write the list. An empty list is the header alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(line, name) for name in COLUMNS] for line in lines)
    write_atomically(path, text.getvalue())


def read_quarantine(path: Path) -> tuple[Quarantined, ...]:
    """Read the lines of a list.

    Raises:
        DataError: the file cannot be read, has no column ``path``, or has a malformed line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            if "path" not in header or set(header) - set(COLUMNS):
                raise DataError(
                    f"{path}: is no quarantine list: expected columns {', '.join(COLUMNS)} (path alone is enough), "
                    f"got {', '.join(header) or 'an empty file'}"
                )
            reader.fieldnames = header
            return tuple(_line(path, reader.line_num, cells) for cells in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({reason(error)}); expected a quarantine list") from None


class Quarantine:
    """A quarantine list that remembers which of its lines matched a row."""

    def __init__(self, lines: Sequence[Quarantined], root: Path, source: Path) -> None:
        self._root, self._source = root, source
        self._lines: dict[str, list[Quarantined]] = {}
        for line in lines:
            self._lines.setdefault(self._address(line.path), []).append(line)
        self._num_lines = len(lines)
        self._met: set[int] = set()
        self._left_out: list[tuple[str, str]] = []

    def holds(self, row: ManifestRow) -> bool:
        """Whether a row is on the list."""
        for name in dict.fromkeys((row_path(row), row.path)):
            for line in self._lines.get(self._address(name), ()):
                if all(
                    wanted is None or wanted == given
                    for wanted, given in (
                        (line.split, row.split),
                        (line.start_seconds, row.start_seconds),
                        (line.end_seconds, row.end_seconds),
                    )
                ):
                    self._met.add(id(line))
                    self._left_out.append((row_path(row), line.reason))
                    return True
        return False

    def notes(self, num_rows: int) -> list[str]:
        """Notes about the rows that were left out of ``num_rows``, and about lines that matched no row."""
        named = ", ".join(f"{path}{f' ({reason})' if reason else ''}" for path, reason in self._left_out[:_MAX_NAMED])
        more = len(self._left_out) - _MAX_NAMED
        notes = []
        if self._left_out:
            notes.append(
                f"{len(self._left_out)} of {num_rows} rows left out by the quarantine list {self._source}: {named}"
                + (f", and {more} more" if more > 0 else "")
            )
        if unmet := self._num_lines - len(self._met):
            notes.append(f"{unmet} of {self._num_lines} lines of the quarantine list {self._source} meet no row")
        return notes

    def _address(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._root.absolute(), path))


def _line(path: Path, number: int, cells: dict[str, str]) -> Quarantined:
    if None in cells or None in cells.values() or not cells["path"].strip():
        raise DataError(f"{path}: line {number}: expected a path and as many cells as columns")
    try:
        start, end = (float(text) if (text := cells.get(name, "").strip()) else None for name in COLUMNS[3:])
    except ValueError as error:
        raise DataError(f"{path}: line {number}: {error}") from None
    return Quarantined(
        path=cells["path"].strip(),
        reason=cells.get("reason", "").strip(),
        split=cells.get("split", "").strip() or None,
        start_seconds=start,
        end_seconds=end,
    )
