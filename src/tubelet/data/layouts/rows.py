"""What every layout gives: rows, and what its reader found out on the way.

A row's path is relative to the root of the data set or absolute. Labels are still names here, and a split may still
be missing; ``tubelet.data.manifest.manifest`` turns rows into a manifest. Malformed rows are collected, so that one
message counts all of them and names the first by their line.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tubelet.errors import DataError

SPLITS = ("train", "val", "test")
# The words that data sets use, for folders, for cells and inside file names.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_MAX_NAMED = 3  # bad rows or files that one message names

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One video, segment or volume as its layout states it."""

    path: str  # a file or a frame folder, relative to the root of the dataset, or absolute
    labels: tuple[str, ...]  # one class name per head, empty where it is not known; or all that a video has
    split: str | None  # none where the layout has no splits
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None  # frames per second of a frame folder, where known
    entry: str | None = None  # address inside an .npz file or a tar shard


@dataclass(frozen=True, kw_only=True)
class LayoutRows:
    """What a layout holds."""

    root: Path  # folder that paths are relative to
    rows: list[Row]
    # Class names of each head in logit order; none: those that occur, sorted.
    classes: dict[str, tuple[str, ...] | None] = field(default_factory=lambda: {"label": None})
    label_separator: str | None = None  # of the cells of a written manifest with several labels per video
    all_classes_known: bool = False  # the source lists its classes: validation may show one that training does not
    splits_decided: bool = False  # a written manifest: nothing is set aside again
    layout: str | None = None  # where the reader knows better than the name it was called by
    missing: tuple[str, ...] = ()  # files that the lists name and that are not there; they have no row
    notes: list[str] = field(default_factory=list)  # what the user should know, one line each


def parse_each(
    path: Path,
    items: Iterable[tuple[int, T]],
    parse: Callable[[T], Row | None],
    skipped: list[str] | None = None,
) -> list[Row]:
    """The rows that ``parse`` makes of (line number, item); None stands for an item without a row.

    Args:
        path: the file, for messages.
        items: what to parse.
        parse: raises ValueError with what is wrong with its item.
        skipped: if given, a note about malformed rows is added here instead of an error.

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
    """(Number, line) of the lines of a text file that are not blank.

    Raises:
        DataError: the file cannot be read as UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); expected UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def table_lines(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(Line number, stripped cells) of the rows of a table, quotes understood; blank lines are left out.

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
        raise DataError(f"{path}: cannot be read as CSV ({error}); expected UTF-8 text with {word}") from None


def records(
    path: Path, separator: str, required: tuple[str, ...], hint: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """(Line number, cells by column) of a table whose first line names its columns.

    A row of another length comes with the key ``""``, which ``cell`` refuses; ``hint`` ends the message about a
    column that is missing.

    Raises:
        DataError: no such table, or a column is missing.
    """
    lines = table_lines(path, separator)
    header = next(lines, (0, []))[1]
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column name stands twice; columns present: {', '.join(header)}")
    for column in required:
        if column not in header:
            raise DataError(f"{path}: no column '{column}'; columns present: {', '.join(header) or '(none)'}{hint}")
    for line, cells in lines:
        if len(cells) != len(header):
            yield line, {"": f"{len(cells)} cells, expected {len(header)}"}
        else:
            yield line, dict(zip(header, cells, strict=True))


def cell(record: dict[str, str], column: str) -> str:
    """The filled cell of a record; ValueError if it is empty or the row has another length."""
    if "" in record:
        raise ValueError(record[""])
    if not record[column]:
        raise ValueError(f"'{column}' is empty")
    return record[column]


def seconds_of(text: str) -> float:
    """A time in seconds, or ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"'{text}' is not a time in seconds")
    return seconds


def whole_number(text: str, what: str) -> int:
    """A whole number from 0 on, or ValueError."""
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{what} '{text}' is not a whole number")
    return int(text)


def check_segment(start: float | None, end: float | None) -> None:
    """ValueError unless the segment ends after it starts."""
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"the segment ends at {end} s, not after its start at {start or 0.0} s")


def split_of(text: str) -> str:
    """train, val or test for the word a data set uses, or ValueError."""
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise ValueError(f"split '{text}' is not one of {', '.join(SPLIT_NAMES)}")
    return split


def split_of_file(name: str) -> str | None:
    """The split that a file name tells (``trainlist01.txt``, ``EPIC_100_validation.csv``, ``valSet.csv``), if any."""
    found = set(re.findall(r"train|val|test", name.lower()))
    return found.pop() if len(found) == 1 else None


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The first few items, and how many more there are."""
    more = len(items) - _MAX_NAMED
    return separator.join(items[:_MAX_NAMED]) + (f"{separator}and {more} more" if more > 0 else "")
