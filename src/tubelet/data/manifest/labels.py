"""The labels of a row: one class of each head, or, where a video may have several labels, all the classes it has.

Several labels stand in one cell with a separator between them (``ManifestConfig.label_separator``), such as
``walk|talk``. A row of several heads may lack the label of one: its cell is empty, its class index -1. A video with
several labels may also have none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from tubelet.data.layouts.rows import Row, some
from tubelet.errors import ConfigError

T = TypeVar("T", int, str)
# What programs write where a cell is empty; each may also be what a class is called.
_EMPTY = frozenset(
    ["nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "nil", "undefined", "unlabeled", "-", "?"]
)
_Kind = Literal["alike", "like_empty", "empty"]


@dataclass(frozen=True, kw_only=True)
class LabelFinding:
    """Something about the labels of a head that is often a mistake."""

    kind: _Kind
    head: str
    counts: dict[str, int]  # rows of each class that is meant; of kind "empty", rows without a label under ""

    @property
    def note(self) -> str:
        """One line for the user."""
        named = some([f"'{name}' ({count} rows)" for name, count in self.counts.items()])
        if self.kind == "empty":
            return f"{self.counts['']} rows have no label of '{self.head}'"
        if self.kind == "like_empty":
            return f"classes of '{self.head}' look like empty cells: {named}; rename them if they are classes"
        return f"classes of '{self.head}' differ only by case, accents' form, spaces or leading zeros: {named}"


def label_findings(rows: Sequence[Row], names: Mapping[str, Sequence[str]], *, multi_label: bool) -> list[LabelFinding]:
    """Classes that are probably one, classes that look like empty cells, and rows without a label."""
    found = []
    for place, (head, known) in enumerate(names.items()):
        counts = Counter[str]()
        for row in rows:
            counts.update(labels_of(row.labels, place, multi_label=multi_label) or [""])
        found += findings_of(head, known, counts)
    return found


def findings_of(head: str, known: Sequence[str], rows_of: Mapping[str, int]) -> list[LabelFinding]:
    """Those of one head, given the number of rows of each name that stands in them, and under "" of rows without."""
    counts = dict.fromkeys(known, 0) | {name: count for name, count in rows_of.items() if name}
    alike = defaultdict(list)
    for name in counts:
        alike[_simplified(name)].append(name)
    groups: list[tuple[_Kind, list[str]]] = [("alike", group) for group in alike.values() if len(group) > 1]
    groups += [("like_empty", [name]) for name in counts if name.strip().casefold() in _EMPTY]
    found = [LabelFinding(kind=kind, head=head, counts={n: counts[n] for n in group}) for kind, group in groups]
    if rows_of.get(""):
        found.append(LabelFinding(kind="empty", head=head, counts={"": rows_of[""]}))
    return found


def names_that_occur(found: Iterable[str]) -> tuple[str, ...]:
    """The class names among labels, sorted. Names that are numbers are sorted as numbers."""
    names = set(found) - {""}
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else str))


def numbered_notes(head: str, known: Sequence[str], found: Iterable[str]) -> list[str]:
    """A note where labels are numbers that index given names, because nothing shows that they fit."""
    if not any(label.isdecimal() for label in set(found).difference(known)):
        return []
    return [f"labels of '{head}' are numbers, read as places in the {len(known)} class names from 0 '{known[0]}' on"]


def joined_notes(head: str, known: Sequence[str]) -> list[str]:
    """A note where names look like several labels in one cell: joined by a sign, with a part that is another's too."""
    for sign in ";|":
        joined = [name for name in known if sign in name]
        parts = Counter(part for name in known for part in {part.strip() for part in name.split(sign)} - {""})
        alike = [name for name in joined if any(parts[part.strip()] > 1 for part in name.split(sign))]
        if alike:
            named = some([f"'{name}'" for name in alike])
            return [
                f"classes of '{head}' look like several labels in one cell: {named}; "
                f"if a video may have several, give --data.manifest.label_separator '{sign}'"
            ]
    return []


def _simplified(name: str) -> str:
    """A name without what people mistype: one case, one form of accents, single spaces, no leading zeros."""
    text = " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", text)


def merged_rows(rows: Sequence[Row], notes: list[str]) -> list[Row]:
    """Rows of several labels, one per segment: rows of one segment become one with the labels of all."""
    labels: dict[Row, dict[str, None]] = defaultdict(dict)
    for row in rows:
        labels[replace(row, labels=())].update(dict.fromkeys(row.labels))
    if len(labels) == len(rows):
        return list(rows)
    notes.append(f"{len(rows)} rows are {len(labels)} segments, each with the labels of all its rows")
    return [replace(row, labels=tuple(found)) for row, found in labels.items()]


def split_cells(rows: Sequence[Row], heads: Sequence[str], separator: str) -> list[Row]:
    """Split the label cells of each row into its labels, each once.

    Raises:
        ConfigError: the rows have several heads.
    """
    if len(heads) != 1:
        raise ConfigError(f"label_separator: several labels per video are for one label column, got {', '.join(heads)}")
    parts = [(part.strip() for cell in row.labels for part in cell.split(separator)) for row in rows]
    return [
        replace(row, labels=tuple(dict.fromkeys(name for name in cell if name)))
        for row, cell in zip(rows, parts, strict=True)
    ]


def labels_of(labels: Sequence[T], head: int, *, multi_label: bool) -> list[T]:
    """The labels of a row for one head, as names or class indices: one, none if unknown, or several."""
    of_head = labels if multi_label else labels[head : head + 1]
    return [label for label in of_head if label not in ("", -1)]
