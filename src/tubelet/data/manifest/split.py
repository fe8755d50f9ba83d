"""The train/val/test split of data that has none: a seeded share of each class for validation and for test.

What belongs together (``groups.units_of``) stays together. With ``folds``, parts of all units are the test split in
turn. The split that a run was made with is recorded with it and kept (``recorded_split``).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import LayoutRows, Row, some
from tubelet.data.manifest.groups import FEW_GROUPS, units_of, with_pattern
from tubelet.data.manifest.manifest import SplitOrigin
from tubelet.data.manifest.near_copies import MAX_CLIPS, NOT_LOOKED, OnFile, find_near_copies, grouped_by_near_copies
from tubelet.data.manifest.recorded_split import RecordedSplit, is_pooled
from tubelet.data.manifest.sample import Sample
from tubelet.errors import ConfigError, DataError

Labels = dict[tuple[int, str], int]  # (head, class name): files that have it


def with_all_splits(
    source: Path,
    reading: LayoutRows,
    rows: list[Row],
    config: ManifestConfig,
    notes: list[str],
    recorded: RecordedSplit | None = None,
    on_file: OnFile = lambda done, total: None,
) -> tuple[list[Row], SplitOrigin]:
    """Give every row a split and its group, and say how.

    Args:
        reading: what the layout says of ``rows``.
        notes: gets a line for each decision.
        recorded: the split that a run was made with, which is kept. None means a new one where the data lack one.
        on_file: called with the files that were searched for near-copies, and their number.

    Raises:
        DataError: some rows have a split and others have none.
        ConfigError: options about groups that the data cannot follow.
    """
    rows, kept = _grouped(reading, rows, config, notes)
    if config.folds:
        rows = _pooled(rows, config, notes)
    fractions = {} if reading.splits_decided and not config.folds else _missing_splits(source, rows, config)
    if not fractions:
        note_parted_groups(rows, notes)
        return rows, SplitOrigin(kept_together=kept)
    if kept == "files" and config.split_by == "groups":
        folder = source.parent if source.is_file() else None
        train, max_clips = [row for row in rows if is_pooled(row)], MAX_CLIPS if recorded is None else 0
        copies = find_near_copies(reading.root, train, folder, max_clips=max_clips, on_file=on_file)
        if recorded is not None and copies.not_looked:
            kept = NOT_LOOKED  # the files are those of the run, whatever they show
        else:
            rows, kept = grouped_by_near_copies(rows, copies, notes)
    multi_label = (reading.label_separator or config.label_separator) is not None
    if recorded is not None:
        rows = recorded.applied_to(rows)
    else:
        rows = _split_rows(
            rows, fractions, config, notes, "" if kept.startswith("files") else kept, multi_label=multi_label
        )
    fold = f"{config.fold} of {config.folds}" if config.folds else ""
    return rows, SplitOrigin(made=tuple(fractions), kept_together=kept, seed=config.split_seed, fold=fold)


def _grouped(reading: LayoutRows, rows: list[Row], config: ManifestConfig, notes: list[str]) -> tuple[list[Row], str]:
    """The rows with their groups, and what is kept together, in words."""
    if config.split_by == "files":
        return [replace(row, group=None) for row in rows], "files"
    if config.group_pattern is not None:
        return with_pattern(rows, config.group_pattern, notes), f"groups by group_pattern '{config.group_pattern}'"
    if config.group_column is not None and reading.grouped_by is None:
        raise ConfigError(f"group_column '{config.group_column}': this data has no columns; see group_pattern")
    if any(row.group is not None for row in rows):
        alone = [row.path for row in rows if row.group is None]
        if alone:
            notes.append(alone_note(alone, len(rows), reading.grouped_by))
        return rows, f"groups by {reading.grouped_by}"
    return rows, "files"


def _pooled(rows: list[Row], config: ManifestConfig, notes: list[str]) -> list[Row]:
    """The rows without the splits that the data state."""
    if any(row.split is not None for row in rows):
        notes.append(f"folds: {config.folds} folds are made of all rows; the splits that the data state are left aside")
    return [replace(row, split=None) for row in rows]


def note_parted_groups(rows: Sequence[Row] | Sequence[Sample], notes: list[str]) -> None:
    """A note about groups that lie in several of the splits that the data state."""
    if leak := leak_of(rows):
        notes.append(leak)


def leak_of(rows: Sequence[Row] | Sequence[Sample]) -> str:
    """What is wrong with groups that lie in several splits; empty where none does."""
    splits: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        if row.group is not None:
            splits[row.group].add(row.split)
    parted = sorted(group for group, found in splits.items() if len(found) > 1)
    return parted_groups_note(parted, len(splits)) if parted else ""


def alone_note(paths: Sequence[str], num_rows: int, grouped_by: str | None) -> str:
    """What the user is told of rows without a group among rows that have one."""
    return (
        f"{len(paths)} of {num_rows} rows have no group by {grouped_by}: each of their files is split for itself, and "
        f"may show what others show ({some(paths)})"
    )


def parted_groups_note(parted: Sequence[str], num_groups: int) -> str:
    """What the user is told of groups that lie in several splits."""
    return (
        f"{len(parted)} of {num_groups} groups lie in several of the splits that the data state, so that test shows "
        f"what training has seen: {some(parted)}"
    )


def _missing_splits(source: Path, rows: Sequence[Row], config: ManifestConfig) -> dict[str, float]:
    """The splits that the data lack and that are split off its training rows, with the share of each.

    Raises:
        DataError: some rows have a split and others have none.
    """
    present = {row.split for row in rows}
    if present == {None}:
        return {"val": config.val_fraction, "test": config.test_fraction}
    if None in present:
        count = sum(row.split is None for row in rows)
        raise DataError(
            f"{source}: {count} of {len(rows)} rows belong to no split; name the split of every annotation file as "
            "SPLIT=FILE"
        )
    return {"val": config.val_fraction} if "train" in present and "val" not in present else {}


def _split_rows(
    rows: list[Row],
    fractions: Mapping[str, float],
    config: ManifestConfig,
    notes: list[str],
    kept: str,
    *,
    multi_label: bool,
) -> list[Row]:
    """Split ``fractions`` off the training rows. ``kept`` says what stays together beside files."""
    train = [row for row in rows if is_pooled(row)]
    # With several labels per video the position of a label has no meaning, but every label counts.
    units = _Units.of(train, config.split_seed, multi_label=multi_label)
    how = f"split_seed {config.split_seed}" + (f", {kept}" if kept else "")
    if config.folds:
        assigned = units.assign(units.fold(config.fold, config.folds), {"val": fractions["val"]})
        notes.append(f"fold {config.fold} of {config.folds} is the test split ({how})")
    else:
        assigned = units.assign({}, fractions)
        number = {(head, name): len(of_class) for (head, name), of_class in units.classes.items()}
        notes += few_units_notes(number, is_grouped=bool(kept))
    names = iter(units.of_rows)
    rows = [replace(row, split=assigned.get(next(names), "train")) if is_pooled(row) else row for row in rows]
    for split in fractions if not config.folds else ():
        if count := sum(row.split == split for row in rows):
            notes.append(split_off_note(count, len(rows), split, how))
    return rows


def split_off_note(count: int, num_rows: int, split: str, how: str) -> str:
    """What the user is told of the rows of a split that was made."""
    return f"{count} of {num_rows} rows split off for '{split}' ({how}), because the data has no such split"


def few_units_notes(num_units: Mapping[tuple[int, str], int], *, is_grouped: bool) -> Iterator[str]:
    """Yield a note if a class has few units: what one split shows depends on which of them it holds out.

    Args:
        num_units: of each class of a head, in order.
        is_grouped: whether units are groups, else files.
    """
    label, number = min(num_units.items(), key=lambda item: item[1], default=((0, ""), 0))
    if num_units and number < FEW_GROUPS and (is_grouped or number > 1):
        what = "group" if is_grouped else "file"
        advice = f"--folds {max(2, number)} tests each of them once" if number > 1 else "no split can test it"
        yield f"class '{label[1]}' has {number} {what}{'s' * (number != 1)}: {advice}"


@dataclass(frozen=True, kw_only=True)
class _Units:
    """What a split keeps whole, with the classes of each unit."""

    of_rows: list[str]  # the unit of each row
    labels: dict[str, Labels]  # of each unit, in the order of a seeded hash of its name
    classes: dict[tuple[int, str], list[str]]  # the units that stand for each class, in that order

    @classmethod
    def of(cls, rows: Sequence[Row], seed: int, *, multi_label: bool) -> _Units:
        """Units are sorted by a hash of seed and name, so that neither another order of rows nor new files reshuffle
        the rest."""
        of_rows = units_of(rows)
        files: dict[str, dict[tuple[int, str], set[str]]] = defaultdict(lambda: defaultdict(set))
        for row, unit in zip(rows, of_rows, strict=True):
            for head, name in enumerate(row.labels):
                if name:
                    files[unit][0 if multi_label else head, name].add(row.entry or row.path)
            files[unit]  # a unit without labels is one too
        names = sorted(files, key=lambda unit: hashlib.sha256(f"{seed} {unit}".encode()).digest())
        labels = {unit: {label: len(of) for label, of in files[unit].items()} for unit in names}
        classes = defaultdict(list)
        for unit, found in labels.items():
            # A group of several files stands for all its classes; a file for its first, as it always did.
            several = sum(found.values()) > 1 and unit.startswith("group ")
            for label in found if several else [min(found, default=(0, ""))]:
                classes[label].append(unit)
        return cls(of_rows=of_rows, labels=labels, classes=dict(sorted(classes.items())))

    def assign(self, assigned: dict[str, str], fractions: Mapping[str, float]) -> dict[str, str]:
        """Choose the units that leave the training rows: a share of the files of every class that are not assigned.

        A split gets at least one unit of each class, unless training would lose the last unit of a class. It gets no
        unit that is larger than what it lacks, unless it has none of the class.
        """
        before = set(assigned)
        left = Counter(label for unit, found in self.labels.items() if unit not in before for label in found)

        def may_leave(unit: str) -> bool:
            return unit not in assigned and all(left[label] > 1 for label in self.labels[unit])

        def leave(unit: str, split: str) -> int:
            assigned[unit] = split
            left.subtract(self.labels[unit].keys())
            return sizes[unit]

        for label, units in self.classes.items():
            sizes = {unit: self.labels[unit].get(label, 1) for unit in units if unit not in before}
            for split, fraction in fractions.items():
                wanted = max(1, round(sum(sizes.values()) * fraction)) if fraction else 0
                there = sum(size for unit, size in sizes.items() if assigned.get(unit) == split)
                for unit in sizes:
                    if sizes[unit] <= wanted - there and may_leave(unit):
                        there += leave(unit, split)
                for unit in sorted(sizes, key=sizes.__getitem__):  # nothing fits: the smallest
                    if there == 0 < wanted and may_leave(unit):
                        there += leave(unit, split)
        return assigned

    def fold(self, fold: int, count: int) -> dict[str, str]:
        """The units of one of ``count`` parts, from 1 on, as the test split. Files of a class are dealt out evenly.

        A unit that alone has one of its classes is in no part, because training needs it.
        """
        number = Counter(label for found in self.labels.values() for label in found)
        parts: dict[str, int] = {}
        dealt = [Counter[tuple[int, str]]() for _ in range(count)]
        for label, units in self.classes.items():
            for unit in sorted(units, key=lambda unit: -self.labels[unit].get(label, 1)):  # a stable sort
                if unit not in parts and all(number[of] > 1 for of in self.labels[unit]):
                    part = min(range(count), key=lambda i: (dealt[i][label], dealt[i].total(), i))
                    parts[unit] = part
                    dealt[part].update(self.labels[unit])
        return {unit: "test" for unit, part in parts.items() if part == fold - 1}
