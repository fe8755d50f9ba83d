"""Fewer labels to learn from: a share of the training rows of each class, for studies of how many labels it takes."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import Row


def share_of_training_rows(rows: list[Row], config: ManifestConfig, notes: list[str]) -> list[Row]:
    """The rows with ``config.train_fraction`` of the training rows of each class, one at least, and all others.

    A smaller share is part of a larger one: rows are taken in the order of a seeded hash of their names.
    """
    if config.train_fraction == 1:
        return rows
    of_class = defaultdict[tuple[str, ...], list[int]](list)
    for place, row in enumerate(rows):
        if row.split == "train":
            of_class[() if config.numbers else tuple(row.labels)].append(place)
    kept = set[int]()
    for places in of_class.values():
        ordered = sorted(places, key=lambda place: _key(rows[place], config.split_seed))
        kept.update(ordered[: max(1, round(config.train_fraction * len(places)))])
    total = sum(map(len, of_class.values()))
    notes.append(f"{len(kept)} of {total} training rows are kept (train_fraction {config.train_fraction:g})")
    return [row for place, row in enumerate(rows) if row.split != "train" or place in kept]


def _key(row: Row, seed: int) -> bytes:
    name = (row.path, row.entry, row.start_seconds, row.end_seconds, row.start_frame, row.end_frame)
    return hashlib.sha256(f"{seed} train {name}".encode()).digest()
