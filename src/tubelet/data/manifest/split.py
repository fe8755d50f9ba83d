"""The train/val/test split of data that has none: a seeded share of each class for validation and for test."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import Row
from tubelet.errors import DataError


def with_all_splits(source: Path, rows: list[Row], config: ManifestConfig, notes: list[str]) -> list[Row]:
    """Give every row a split, and split a validation part off if there is a training part only.

    Raises:
        DataError: some rows have a split and others have none.
    """
    present = {row.split for row in rows}
    if present == {None}:
        rows = [replace(row, split="train") for row in rows]
        fractions = {"val": config.val_fraction, "test": config.test_fraction}
    elif None in present:
        count = sum(row.split is None for row in rows)
        raise DataError(
            f"{source}: {count} of {len(rows)} rows belong to no split; name the split of every annotation file as "
            "SPLIT=FILE"
        )
    elif "train" in present and "val" not in present:
        fractions = {"val": config.val_fraction}
    else:
        return rows
    train, several = [row for row in rows if row.split == "train"], config.label_separator is not None
    assigned = _assign_splits(train, fractions, config.split_seed, several)
    rows = [replace(row, split=assigned.get(_unit(row), row.split)) if row.split == "train" else row for row in rows]
    for split in fractions:
        count = sum(row.split == split for row in rows)
        if count:
            notes.append(
                f"{count} of {len(rows)} rows split off for '{split}' (split_seed {config.split_seed}), "
                "because the data has no such split"
            )
    return rows


def _unit(row: Row) -> str:
    """The unit that a split keeps whole. Segments of one file stay together, or test would show training footage."""
    return row.entry or row.path


def _assign_splits(rows: list[Row], fractions: dict[str, float], seed: int, multi_label: bool) -> dict[str, str]:
    """Choose the units that leave the training rows, a share of every class of the first head, and their splits.

    Units are sorted by a hash of seed and name, so that neither another order of rows nor new files reshuffle the
    rest. A split gets at least one unit of each class, unless training would lose the last unit of a class.
    """
    labels: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for row in rows:
        # With several labels per video the position of a label has no meaning, but every label counts.
        labels[_unit(row)].update((0 if multi_label else head, name) for head, name in enumerate(row.labels) if name)
    left = Counter(label for found in labels.values() for label in found)
    classes = defaultdict(list)
    for unit in sorted(labels, key=lambda unit: hashlib.sha256(f"{seed} {unit}".encode()).digest()):
        classes[min(labels[unit], default=(0, ""))].append(unit)
    assigned: dict[str, str] = {}
    for _, units in sorted(classes.items()):
        for split, fraction in fractions.items():
            wanted = max(1, round(len(units) * fraction)) if fraction else 0
            free = (unit for unit in units if unit not in assigned and all(left[label] > 1 for label in labels[unit]))
            for unit in itertools.islice(free, wanted):
                assigned[unit] = split
                left.subtract(labels[unit])
    return assigned
