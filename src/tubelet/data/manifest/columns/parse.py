"""The cells of a plain table as columns, a block of lines at a time, so that no row is ever an object.

Plain is a table whose every line says in the same way what it says. Of any other, and of every malformed one,
``NotPlain`` is raised: its rows are read one by one (``tubelet.data.layouts``), with the messages for malformed ones.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.bouts.cells import read_cell
from tubelet.data.layouts.rows import SPLIT_NAMES, seconds_of
from tubelet.data.manifest.columns.texts import Texts, TextsMaker

_AT_ONCE = 512  # lines; so few that the garbage collector, which counts lists, is never called
TIMES = ("start_seconds", "end_seconds", "fps")


class NotPlain(Exception):
    """The rows of a table have to be read one by one."""


@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """Which columns of a table say what."""

    path: str
    labels: tuple[str, ...]  # of each head
    split: str | None
    entry: str | None
    group: str | None = None
    times: dict[str, str]  # the column of each of ``TIMES``
    is_stripped: bool = True  # whether spaces around cells are left out


class Codes(dict[str, int]):
    """Numbers texts in the order in which they come."""

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self)
        return code

    def of(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """The numbers of texts."""
        return np.fromiter(map(self.__getitem__, texts), dtype=np.int32, count=len(texts))


@dataclass(kw_only=True)
class ParsedTable:
    """The columns of a table, N rows."""

    paths: Texts
    entries: Texts | None
    groups: Texts | None
    labels: list[Codes]  # of each head, by name
    label_codes: NDArray[np.int32]  # [N, heads]
    splits: Codes
    split_codes: NDArray[np.int8] | None  # [N]; None where the table has no splits
    times: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    is_given: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label_codes)


def parse_table(stream: TextIO, header: Sequence[str], layout: TableFormat, separator: str = ",") -> ParsedTable:
    """Read the lines of a table behind its header.

    Raises:
        NotPlain: a line has another number of cells, lacks a path, all labels or a split, or says something that is
            not allowed; or files are spelled in ways that may mean one file.
    """
    places = {name: place for place, name in enumerate(header)}
    paths, entries, groups = TextsMaker(), TextsMaker(), TextsMaker()
    labels, splits = [Codes() for _ in layout.labels], Codes()
    label_codes, split_codes = list[NDArray[np.int32]](), list[NDArray[np.int8]]()
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in layout.times}
    spelling = _Spelling()
    for block in _blocks(stream, separator, len(header)):

        def cells(column: str, block: Sequence[Sequence[str]] = block) -> list[str]:
            found = block[places[column]]
            return [*map(str.strip, found)] if layout.is_stripped else [*found]

        names = cells(layout.path)
        spelling.look_at(names)
        paths.add(names)
        if layout.entry is not None:
            entries.add(cells(layout.entry))
        if layout.group is not None:
            groups.add(cells(layout.group))
        of_heads = [codes.of(cells(column)) for codes, column in zip(labels, layout.labels, strict=True)]
        label_codes.append(np.stack(of_heads, axis=1))
        if layout.split is not None:
            codes = splits.of(cells(layout.split))
            _check_splits(splits)
            split_codes.append(codes.astype(np.int8))
        for name, column in layout.times.items():
            times[name].append(_seconds(cells(column)))
    if not label_codes:
        raise NotPlain
    if layout.is_stripped and any(read_cell(name) != name for codes in labels for name in codes):
        raise NotPlain  # names that are written so that no spreadsheet runs them as formulas
    whole = {name: np.concatenate(parts) for name, parts in times.items()}
    return ParsedTable(
        paths=paths.made(),
        entries=entries.made() if layout.entry is not None else None,
        groups=groups.made() if layout.group is not None else None,
        labels=labels,
        label_codes=np.concatenate(label_codes),
        splits=splits,
        split_codes=np.concatenate(split_codes) if layout.split is not None else None,
        times={name: np.nan_to_num(column, nan=0.0) for name, column in whole.items()},
        is_given={name: ~np.isnan(column) for name, column in whole.items()},
    )


def _blocks(stream: TextIO, separator: str, width: int) -> Iterator[list[tuple[str, ...]]]:
    """The columns of some lines at a time; blank lines are left out."""
    reader = csv.reader(stream, strict=True, delimiter=separator)
    try:
        while lines := list(islice(reader, _AT_ONCE)):
            rows = [cells for cells in lines if cells]
            columns = list(zip(*rows, strict=True))
            if rows and len(columns) != width:
                raise NotPlain
            if rows:
                yield columns
    except (ValueError, csv.Error, OSError):  # ValueError: lines of different lengths, or no UTF-8
        raise NotPlain from None


def _check_splits(splits: Codes) -> None:
    if any(name.lower() not in SPLIT_NAMES for name in splits):
        raise NotPlain


def _seconds(cells: Sequence[str]) -> NDArray[np.float64]:
    """Times, NaN where a cell is empty."""
    try:
        found = np.array([np.nan if not cell else seconds_of(cell) if ":" in cell else float(cell) for cell in cells])
    except ValueError:
        raise NotPlain from None
    given = np.fromiter(map(bool, cells), dtype=bool, count=len(cells))
    if not (np.isfinite(found[given]) & (found[given] >= 0)).all():
        raise NotPlain
    return found


class _Spelling:
    """Sees to it that equal files are spelled alike, by text: nothing that ``os.path.normpath`` would change."""

    def __init__(self) -> None:
        self._is_absolute: bool | None = None

    def look_at(self, paths: Sequence[str]) -> None:
        whole = "\n" + "\n".join(paths) + "\n"
        num_absolute = whole.count("\n/")
        is_absolute = self._is_absolute if self._is_absolute is not None else num_absolute > 0
        self._is_absolute = is_absolute
        is_odd = any(sign in whole for sign in ("//", "/.", "\n.", "/\n", "\n\n"))
        if is_odd or whole.count("\n") != len(paths) + 1 or num_absolute != len(paths) * is_absolute:
            raise NotPlain
