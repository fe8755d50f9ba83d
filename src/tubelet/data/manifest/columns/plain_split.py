"""The split of many plain rows: stated, or made where each has a file of its own, one label and no group.

``tubelet.data.manifest.split`` comes to the same split, unit by unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.config import MAX_LOOKED_AT, ManifestConfig
from tubelet.data.layouts.rows import SPLITS
from tubelet.data.manifest.columns.parse import NotPlain, ParsedTable
from tubelet.data.manifest.columns.rows import Places, Rows
from tubelet.data.manifest.manifest import SplitOrigin
from tubelet.data.manifest.near_copies import (
    MAX_CLIPS,
    NOT_LOOKED,
    NearCopies,
    OnFile,
    find_near_copies,
    grouped_by_near_copies,
    not_looked_at,
)
from tubelet.data.manifest.recorded_split import RecordedSplit
from tubelet.data.manifest.split import alone_note, few_units_notes, parted_groups_note, split_off_note
from tubelet.data.sources.shards import is_volume_row

_TRAIN, _TEST = SPLITS.index("train"), SPLITS.index("test")


@dataclass(frozen=True)
class PlainSplit:
    """Gives every row a split.

    Args:
        notes: gets a line for each decision.
    """

    source: Path
    root: Path
    config: ManifestConfig
    recorded: RecordedSplit | None
    on_file: OnFile
    notes: list[str]
    grouped_by: str | None  # what states groups, in words

    def applied_to(
        self, rows: Rows, table: ParsedTable, *, is_decided: bool, states_all: bool
    ) -> tuple[Rows, SplitOrigin]:
        """The rows with a split each, and how they came to it.

        Args:
            table: where the rows come from.
            is_decided: nothing is split off.
            states_all: whether rows without a split are of train. Else they are of test.
        """
        kept = self._grouped(rows)
        if table.split_codes is None and not states_all:
            rows = Rows(rows.columns.with_splits(np.full(len(rows), _TEST, dtype=np.int8)))
        fractions = {} if is_decided else self._missing(rows, table)
        if not fractions:
            self._note_parted_groups(rows)
            return rows, SplitOrigin(kept_together=kept)
        if kept != "files":
            raise NotPlain
        splits = rows.columns.splits.copy()
        pooled = (splits == _TRAIN).nonzero()[0]
        kept = self._looked_at(rows.taken(pooled))
        if self.recorded is not None:
            names = rows.columns.entries_or_paths(pooled)
            splits[pooled] = np.fromiter(map(SPLITS.index, self.recorded.splits_of(names)), np.int8, len(pooled))
        else:
            self._split_off(rows, table, pooled, fractions, splits)
        origin = SplitOrigin(made=tuple(fractions), kept_together=kept, seed=self.config.split_seed)
        return Rows(rows.columns.with_splits(splits)), origin

    def _grouped(self, rows: Rows) -> str:
        """What is kept together, in words. A note tells how many rows have no group where others have one."""
        if "group" not in rows.columns.texts:
            return "files"
        alone = (~rows.columns.is_given["group"]).nonzero()[0]
        if len(alone):
            paths = [rows.columns.paths[place] for place in alone.tolist()]
            self.notes.append(alone_note(paths, len(rows), self.grouped_by))
        return f"groups by {self.grouped_by}"

    def _note_parted_groups(self, rows: Rows) -> None:
        if (codes := rows.columns.group_codes) is None:
            return
        given = rows.columns.is_given["group"].nonzero()[0]
        pairs = np.unique(codes[given].astype(np.int64) * len(SPLITS) + rows.columns.splits[given]) // len(SPLITS)
        groups, num_splits = np.unique(pairs, return_counts=True)
        if (num_splits > 1).any():
            place_of = np.zeros(int(codes.max()) + 1, dtype=np.intp)
            place_of[codes[given]] = given
            parted = sorted(rows.columns.texts["group"][place] for place in place_of[groups[num_splits > 1]].tolist())
            self.notes.append(parted_groups_note(parted, len(groups)))

    def _missing(self, rows: Rows, table: ParsedTable) -> dict[str, float]:
        if table.split_codes is None:
            return {"val": self.config.val_fraction, "test": self.config.test_fraction}
        return {"val": self.config.val_fraction} if rows.splits >= {"train"} and "val" not in rows.splits else {}

    def _looked_at(self, train: Rows) -> str:
        """What is kept together, in words: files, after a look for near-copies where there may be one."""
        if self.config.split_by == "files":
            return "files"
        if len(train) > MAX_LOOKED_AT:
            if 0 < (number := _num_videos(train, MAX_CLIPS)) <= MAX_CLIPS:
                raise NotPlain  # so few that they are looked at
            copies = not_looked_at(len(train), MAX_CLIPS) if number else NearCopies(groups=(), num_files=0)
        else:
            folder, max_clips = self.source.parent, MAX_CLIPS if self.recorded is None else 0
            copies = find_near_copies(self.root, train, folder, max_clips=max_clips, on_file=self.on_file)
        if self.recorded is not None and copies.not_looked:
            return NOT_LOOKED
        if copies.groups:
            raise NotPlain
        return grouped_by_near_copies([], copies, self.notes)[1]

    def _split_off(
        self, rows: Rows, table: ParsedTable, pooled: Places, fractions: Mapping[str, float], splits: NDArray[np.int8]
    ) -> None:
        """Give a share of each class to each split: ``_Units.assign`` where each unit has one file of one class."""
        names = rows.columns.name_codes[pooled]
        if len(table.labels) > 1 or np.bincount(names).max() > 1:
            raise NotPlain
        (codes,) = table.labels
        labels = table.label_codes[pooled, 0]
        seed = f"{self.config.split_seed} ".encode()
        hashes = (hashlib.sha256(seed + name).digest()[:8] for name in rows.columns.entries_or_paths(pooled))
        keys = np.fromiter(hashes, dtype="S8", count=len(pooled)).view(">u8").astype(np.uint64)
        order = np.lexsort((keys, labels))  # by class, and in it by the hash
        if ((keys[order][1:] == keys[order][:-1]) & (labels[order][1:] == labels[order][:-1])).any():
            raise NotPlain  # half a hash is not enough to tell two files apart
        counts = np.bincount(labels, minlength=len(codes))
        first, num_units = np.cumsum(counts) - counts, dict[tuple[int, str], int]()
        for name in sorted(name for name, count in zip(codes, counts.tolist(), strict=True) if count):
            start, number = int(first[codes[name]]), int(counts[codes[name]])
            num_units[0, name], left = number, number
            for split, fraction in fractions.items():
                wanted = max(1, round(number * fraction)) if fraction else 0
                taken = min(wanted, left - 1)  # training keeps one
                place = start + number - left
                splits[pooled[order[place : place + taken]]] = SPLITS.index(split)
                left -= taken
        self.notes.extend(few_units_notes(num_units, is_grouped=False))
        for split in fractions:
            if count := int((splits == SPLITS.index(split)).sum()):
                how = f"split_seed {self.config.split_seed}"
                self.notes.append(split_off_note(count, len(rows), split, how))


def _num_videos(rows: Rows, most: int) -> int:
    """The number of files that are no volumes, up to one more than ``most``."""
    found, volumes = set[bytes](), set[bytes]()  # and the endings of volumes
    for place, name in enumerate(rows.entries_or_paths()):
        ending = name[name.rfind(b".") :]
        if ending in volumes:
            continue
        row = rows[place]
        if not is_volume_row(row.path, row.entry):
            found.add(name)
        elif row.entry is None and ending != b".gz":
            volumes.add(ending)
        if len(found) > most:
            break
    return len(found)
