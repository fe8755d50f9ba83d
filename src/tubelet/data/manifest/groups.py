"""Groups: what belongs together and never lies in two splits, such as the clips of one film, match or patient.

Rows say their group themselves (a column, a folder below the class, the layout), or a pattern reads it in file names,
or near-copies decide (``tubelet.data.manifest.near_copies``). Rows of one file belong together in any case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from tubelet.data.layouts.rows import Row, some
from tubelet.errors import ConfigError

FEW_GROUPS = 5  # of a class: with fewer, one split says little, and cross-validation is proposed


@runtime_checkable
class Grouped(Protocol):
    """The fields of rows and samples that decide what belongs together."""

    @property
    def path(self) -> str: ...
    @property
    def entry(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...


def units_of(rows: Sequence[Grouped]) -> list[str]:
    """The name of the unit of each row: rows of one unit share a file or a group, directly or through others.

    A unit without a group is called as its file, so that data without groups are split as they always were.
    """
    union = Union()
    for row in rows:
        file = row.entry or row.path
        union.add(file)
        if row.group is not None:
            union.join(f"group {row.group}", file)
    return [union.name(row.entry or row.path) for row in rows]


class Union:
    """Sets of names that grow together (disjoint-set forest, Galler and Fischer 1964)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def add(self, name: str) -> None:
        self._parent.setdefault(name, name)

    def join(self, first: str, second: str) -> None:
        """Make one set of two. It goes by the name that ``first`` goes by."""
        self.add(first)
        self.add(second)
        first, second = self.name(first), self.name(second)
        self._parent[second] = first

    def name(self, name: str) -> str:
        """What the set of a name goes by."""
        while (above := self._parent[name]) != name:
            self._parent[name] = self._parent[above]
            name = above
        return name


def with_pattern(rows: list[Row], pattern: str, notes: list[str]) -> list[Row]:
    """Read the group of each row in its file name, or in its path if the pattern has a ``/``; a note shows examples.

    ``{group}`` stands for the group, ``{n}`` for a number, and any other ``{name}`` for any text.

    Raises:
        ConfigError: no file name fits, or the pattern finds no two files of one group.
    """
    matcher, depth = _matcher(pattern), pattern.count("/") + 1
    names = ["/".join(PurePosixPath(row.entry or row.path).with_suffix("").parts[-depth:]) for row in rows]
    found = [match["group"] if (match := matcher.fullmatch(name)) else None for name in names]
    shown = {group: name for name, group in reversed(list(zip(names, found, strict=True))) if group is not None}
    others = list(dict.fromkeys(name for name, group in zip(names, found, strict=True) if group is None))
    if not shown:
        raise ConfigError(f"group_pattern '{pattern}' fits none of the {len(rows)} file names, such as {some(others)}")
    examples = some([f"{name} is of group {group}" for group, name in sorted(shown.items())])
    rest = f"; {len(others)} files do not fit and stand alone: {some(others)}" if others else ""
    notes.append(f"group_pattern '{pattern}' reads {len(shown)} groups: {examples}{rest}")
    return [row if group is None else replace(row, group=group) for row, group in zip(rows, found, strict=True)]


def _matcher(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern. A number does not begin in the middle of one."""
    parts = []
    for piece in re.split(r"(\{\w+\})", pattern):
        field = piece[1:-1] if re.fullmatch(r"\{\w+\}", piece) else None
        parts.append(
            re.escape(piece)
            if field is None
            else "(?P<group>.+)"
            if field == "group"
            else r"(?<!\d)\d+"
            if field == "n"
            else ".+?"
        )
    return re.compile("".join(parts))
