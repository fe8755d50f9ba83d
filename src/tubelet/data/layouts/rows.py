"""The rows that every layout gives, and helpers to parse tables, times and splits.

A row's path is relative to the root of the data set or absolute. Labels are still names here, and a split may still
be missing; ``tubelet.data.manifest.read`` turns rows into a manifest. Malformed rows are collected, so that one message
counts all of them and names the first by their line.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tubelet.errors import DataError, reason

SPLITS = ("train", "val", "test")
# The words for splits that data sets use in folder names, cells and file names.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_CLOCK = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]?\d(?:[.,]\d*)?)")  # [hours:]minutes:seconds
INDEX_COLUMN = re.compile(r"(?:Unnamed: \d+(?:\.\d+)?)?")  # pandas' index; read and written again, too
_MAX_NAMED = 3  # number of bad rows or files that one message names

T = TypeVar("T")
R = TypeVar("R")
Record = dict[str, str]  # the cells of a row of a table by column


@dataclass(frozen=True, kw_only=True)
class Row:
    """One video, segment or volume as its layout states it."""

    path: str  # a file or a frame folder, relative to the root of the dataset, or absolute
    labels: tuple[str, ...]  # one class name per head, empty if unknown; or all labels of a video
    split: str | None  # None if the layout has no splits
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None  # frames per second of a frame folder, if known
    entry: str | None = None  # address inside an .npz file or a tar shard
    start_frame: int | None = None  # of a segment in frames, counted from 0
    end_frame: int | None = None  # the first frame after the segment
    group: str | None = None  # rows of one group (a match, a patient) belong into one split; None means not stated


@dataclass(frozen=True, kw_only=True)
class LayoutRows:
    """The rows of a dataset as its layout states them."""

    root: Path  # folder that paths are relative to
    rows: list[Row]
    # Class names of each head in logit order. None means the names that occur, sorted.
    classes: dict[str, tuple[str, ...] | None] = field(default_factory=lambda: {"label": None})
    label_separator: str | None = None  # of the cells of a written manifest with several labels per video
    all_classes_known: bool = False  # the source lists its classes: validation may show one that training does not
    splits_decided: bool = False  # of a written manifest: nothing is split off again
    grouped_by: str | None = None  # what states the groups of the rows, in words; None means nothing
    layout: str | None = None  # if the reader knows more than the name of the layout says
    missing: tuple[str, ...] = ()  # files that the lists name and that do not exist; they have no row
    notes: list[str] = field(default_factory=list)  # for the user, one line each


def parse_each(
    path: Path,
    items: Iterable[tuple[int, T]],
    parse: Callable[[T], R | None],
    skipped: list[str] | None = None,
) -> list[R]:
    """Parse (line number, item) pairs into rows. ``parse`` returns None for an item without a row.

    Args:
        path: the file, for messages.
        items: what to parse.
        parse: makes a row of an item, or raises ValueError with the reason.
        skipped: notes. If given, malformed rows add a note here instead of raising.

    Raises:
        DataError: rows are malformed; the message counts them and names the first few by line.
    """
    rows, problems = [], []
    for line, item in items:
        try:
            row = parse(item)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
        else:
            if row is not None:
                rows.append(row)
    if problems and skipped is None:
        raise DataError(f"{path}: {len(problems)} malformed rows; {some(problems, '; ')}")
    if problems and skipped is not None:
        skipped.append(f"{len(problems)} malformed rows of {path} left out; {some(problems, '; ')}")
    return rows


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) for the lines of a text file that are not blank.

    Raises:
        DataError: the file cannot be read as UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({reason(error)}); expected UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def table_lines(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, stripped cells) for the rows of a table. Handles quotes and leaves out blank lines.

    Raises:
        DataError: the file cannot be read as such a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=separator)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        word = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}.get(separator, f"'{separator}'")
        raise DataError(f"{path}: cannot be read as CSV ({reason(error)}); expected UTF-8 text with {word}") from None


def records(
    path: Path, separator: str, required: tuple[str, ...], hint: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column) for a table whose first line names its columns.

    Columns without a name are left out, because pandas writes the index of its rows so. A row with another number of
    cells gets the key ``""``, which ``cell`` refuses. ``hint`` ends the message about a missing column.

    Raises:
        DataError: no such table, or a column is missing.
    """
    lines = table_lines(path, separator)
    header = ["" if INDEX_COLUMN.fullmatch(name) else name for name in next(lines, (0, []))[1]]
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise DataError(f"{path}: a column name stands twice; columns present: {', '.join(named)}")
    for column in required:
        if column not in header:
            raise DataError(f"{path}: no column '{column}'; columns present: {', '.join(named) or '(none)'}{hint}")
    for line, cells in lines:
        if len(cells) != len(header):
            yield line, {"": f"{len(cells)} cells, expected {len(header)}"}
        else:
            yield line, {name: text for name, text in zip(header, cells, strict=True) if name}


def cell(record: dict[str, str], column: str) -> str:
    """The cell of a record. Raises ValueError if it is empty or the row has another number of cells."""
    if "" in record:
        raise ValueError(record[""])
    if not record[column]:
        raise ValueError(f"'{column}' is empty")
    return record[column]


def seconds_of(text: str) -> float:
    """A time in seconds, or by the clock (``00:12.5``, ``1:02:03,25``). Raises ValueError if the text is none."""
    if (clock := _CLOCK.fullmatch(text)) is not None:
        hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in clock.groups())
        return round(3600 * hours + 60 * minutes + seconds, 6)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"'{text}' is not a time in seconds, nor one as 00:12.5 or 1:02:03.25")
    return seconds


def whole_number(text: str, what: str) -> int:
    """A whole number from 0 on. Raises ValueError if the text is none."""
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{what} '{text}' is not a whole number")
    return int(text)


def check_segment(start: float | None, end: float | None) -> None:
    """Raise ValueError unless the segment ends after it starts."""
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"the segment ends at {end} s, not after its start at {start or 0.0} s")


def split_of(text: str) -> str:
    """train, val or test for the word of a data set. Raises ValueError for any other word."""
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise ValueError(f"split '{text}' is not one of {', '.join(SPLIT_NAMES)}")
    return split


def split_of_file(name: str) -> str | None:
    """The split in a file name (``trainlist01.txt``, ``EPIC_100_validation.csv``, ``valSet.csv``), or None."""
    found = set(re.findall(r"train|val|test", name.lower()))
    return found.pop() if len(found) == 1 else None


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The first few items, and how many more there are."""
    more = len(items) - _MAX_NAMED
    return separator.join(items[:_MAX_NAMED]) + (f"{separator}and {more} more" if more > 0 else "")
