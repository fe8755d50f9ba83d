"""Label columns that hold 0 and 1, one column per class: one-hot, or a mark for each of several labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tubelet.data.layouts.rows import Record, some

_MARKS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_MIN_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class OneHot:
    """The columns that are classes."""

    columns: tuple[str, ...]  # sorted, as class names are
    separator: str | None  # between the labels of a row; None means that each row has exactly one

    def label(self, record: Record) -> str:
        """The classes that a row marks, as the text of a label cell."""
        return (self.separator or "").join(name for name in self.columns if _MARKS[record[name].lower()])

    @property
    def note(self) -> str:
        """What was decided, for the user."""
        how = "one label per video" if self.separator is None else "several labels per video, or none"
        return f"{len(self.columns)} columns hold 0 and 1 and are read as classes, {how}: {some(self.columns)}"


def one_hot_columns(
    tables: Sequence[Sequence[tuple[int, Record]]], used: Iterable[str], *, multi_label: bool
) -> OneHot | None:
    """The columns outside ``used`` that hold marks alone, where there is no column ``label`` and at least two do.

    Args:
        multi_label: a row may have several labels, even where each has one.
    """
    rows = [record for table in tables for _, record in table if "" not in record]
    if not rows or any("label" in record for record in rows[:1]):
        return None
    columns = tuple(
        sorted(
            name
            for name in rows[0]
            if name not in used and all(record.get(name, "").lower() in _MARKS for record in rows)
        )
    )
    if len(columns) < _MIN_CLASSES:
        return None
    one_each = not multi_label and all(sum(_MARKS[record[name].lower()] for name in columns) == 1 for record in rows)
    signs = (sign for sign in ("|", ";", "#", " && ", " &&& ") if not any(sign in name for name in columns))
    return OneHot(columns=columns, separator=None if one_each else next(signs))
