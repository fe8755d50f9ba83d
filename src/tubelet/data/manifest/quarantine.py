"""Quarantine: the list of videos that are left out, with the reason for each, as a CSV file that people can edit.

Columns: path (relative to the root of the dataset, or absolute; what lies in an .npz file or a tar shard as
``file.npz:entry``, ``file.tar:entry``), reason, and optionally split, start_seconds and end_seconds, start_frame and
end_frame. An empty cell matches anything: a line with a path and nothing else leaves out every row of that file.
``tubelet data scan`` writes the list, ``ManifestConfig.quarantine`` names it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tubelet.errors import DataError, reason
from tubelet.files import write_atomically

COLUMNS = ("path", "reason", "split", "start_seconds", "end_seconds")
FRAME_COLUMNS = ("start_frame", "end_frame")  # in a list only where it has such segments
_MATCHED = (*COLUMNS[2:], *FRAME_COLUMNS)  # by which a line and a row match
_MAX_NAMED = 3  # number of files that one note names


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One line of the list. None matches anything."""

    path: str
    reason: str
    split: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None


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
    def fps(self) -> float | None: ...
    @property
    def entry(self) -> str | None: ...
    @property
    def start_frame(self) -> int | None: ...
    @property
    def end_frame(self) -> int | None: ...


def quarantined(row: ManifestRow, reason: str) -> Quarantined:
    """The line that leaves out one row, and no other segment of its file."""
    fields = {name: getattr(row, name) for name in _MATCHED}
    return Quarantined(path=row_path(row), reason=reason, **fields)


def row_path(row: ManifestRow) -> str:
    """The file of a row as lists name it, with the address inside an .npz file or a tar shard."""
    return row.path if row.entry is None else f"{row.path}:{row.entry}"


def write_quarantine(path: Path, lines: Iterable[Quarantined]) -> None:
    """Write the list. An empty list is the header alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines = list(lines)
    has_frames = any(line.start_frame is not None or line.end_frame is not None for line in lines)
    columns = COLUMNS + FRAME_COLUMNS if has_frames else COLUMNS
    writer.writerow(columns)
    writer.writerows([getattr(line, name) for name in columns] for line in lines)
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
            if "path" not in header or set(header) - {*COLUMNS, *FRAME_COLUMNS}:
                raise DataError(
                    f"{path}: is no quarantine list: expected columns {', '.join(COLUMNS)} (path alone is enough), "
                    f"got {', '.join(header) or 'an empty file'}"
                )
            reader.fieldnames = header
            return tuple(_line(path, reader.line_num, cells) for cells in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({reason(error)}); expected a quarantine list") from None


class Quarantine:
    """A quarantine list that remembers which of its lines matched a row.

    Args:
        lines: of the list.
        first_spelling: gives the same spelling for all paths of one file.
        source: the file of the list, for messages.
    """

    def __init__(self, lines: Sequence[Quarantined], first_spelling: Callable[[str], str], source: Path) -> None:
        self._first_spelling, self._source = first_spelling, source
        self._lines: dict[str, list[Quarantined]] = {}
        for line in lines:
            self._lines.setdefault(first_spelling(line.path), []).append(line)
        self._num_lines = len(lines)
        self._met: set[int] = set()
        self._left_out: list[tuple[str, str]] = []

    def holds(self, row: ManifestRow) -> bool:
        """Whether a row is on the list."""
        for name in dict.fromkeys((row_path(row), row.path)):
            for line in self._lines.get(self._first_spelling(name), ()):
                if all(getattr(line, field) in (None, getattr(row, field)) for field in _MATCHED):
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


def _line(path: Path, number: int, cells: dict[str, str]) -> Quarantined:
    if None in cells or None in cells.values() or not cells["path"].strip():
        raise DataError(f"{path}: line {number}: expected a path and as many cells as columns")
    try:
        start, end = (float(text) if (text := cells.get(name, "").strip()) else None for name in COLUMNS[3:])
        first, stop = (int(text) if (text := cells.get(name, "").strip()) else None for name in FRAME_COLUMNS)
    except ValueError as error:
        raise DataError(f"{path}: line {number}: {error}") from None
    return Quarantined(
        path=cells["path"].strip(),
        reason=cells.get("reason", "").strip(),
        split=cells.get("split", "").strip() or None,
        start_seconds=start,
        end_seconds=end,
        start_frame=first,
        end_frame=stop,
    )
