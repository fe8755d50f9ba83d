"""Labels that are numbers: their texts, checked, and the table of those that occur of each label column.

A manifest of numbers has them where others have class names, so that the label of a row is a place in that table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tubelet.data.layouts.rows import Row
from tubelet.errors import DataError


def number_text(text: str) -> str:
    """The number that a cell holds, in the one way that it is written in tables; empty where it is not known.

    Raises:
        ValueError: no finite number; the message says what was found.
    """
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        comma = "; write decimals with a point" if "," in text else ""
        raise ValueError(f"'{text}' is no number{comma}") from None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"'{text}' is not finite; leave the cell empty where the number is not known")
    return "" if value is None else repr(value + 0.0)  # -0.0 is 0.0


def with_numbers(source: Path, rows: Sequence[Row], heads: Sequence[str]) -> list[Row]:
    """The rows with labels in that form.

    Raises:
        DataError: a label is no number; the message names the row.
    """
    found = []
    for row in rows:
        texts = []
        for head, label in zip(heads, row.labels, strict=True):
            try:
                texts.append(number_text(label))
            except ValueError as error:
                raise DataError(f"{source}: {row.entry or row.path}: {head}: {error}") from None
        found.append(replace(row, labels=tuple(texts)))
    return found


def tables_of(rows: Sequence[Row], heads: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The numbers that occur of each head, ascending."""
    columns = (dict.fromkeys(row.labels[place] for row in rows) for place in range(len(heads)))
    return {
        head: tuple(sorted((text for text in column if text), key=float))
        for head, column in zip(heads, columns, strict=True)
    }


def without_numbers(rows: Sequence[Row]) -> list[Row]:
    """Rows that are all of one class, for a split that asks each class for its share."""
    return [replace(row, labels=("number",) * len(row.labels)) for row in rows]
