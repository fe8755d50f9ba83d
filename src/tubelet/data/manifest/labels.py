"""The labels of a row: one class of each head, or, where a video may have several labels, all the classes it has.

Several labels stand in one cell with a separator between them (``ManifestConfig.label_separator``), such as
``walk|talk``. A row of several heads may lack the label of one: its cell is empty, its class index -1. A video with
several labels may also have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tubelet.data.layouts.rows import Row
from tubelet.errors import ConfigError

T = TypeVar("T", int, str)


def split_cells(rows: Sequence[Row], heads: Sequence[str], separator: str) -> list[Row]:
    """Split the one label cell of each row into its labels, each once.

    Raises:
        ConfigError: the rows have several heads.
    """
    if len(heads) != 1:
        raise ConfigError(f"label_separator: several labels per video are for one label column, got {', '.join(heads)}")
    parts = [(part.strip() for part in row.labels[0].split(separator)) for row in rows]
    return [
        replace(row, labels=tuple(dict.fromkeys(name for name in cell if name)))
        for row, cell in zip(rows, parts, strict=True)
    ]


def labels_of(labels: Sequence[T], head: int, *, multi_label: bool) -> list[T]:
    """The labels of a row for one head, as names or class indices: one, none if unknown, or several."""
    of_head = labels if multi_label else labels[head : head + 1]
    return [label for label in of_head if label not in ("", -1)]
