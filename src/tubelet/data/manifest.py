"""The manifest: one row per video, segment or volume, whatever the layout of the dataset on disk.

``read_manifest`` is the one door: ``tubelet.data.layouts`` reads the files, and here rows get their splits and
class indices and are checked. Everything after this file knows rows only.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from tubelet.data.layouts import (
    SPLITS,
    Row,
    check_files_exist,
    has_split_folders,
    rows_of_csv,
    rows_of_folder,
    rows_of_npz,
)
from tubelet.errors import ConfigError, DataError, nearest

Layout = Literal["split folders", "class folders", "csv", "npz", "files"]  # files: a plain list, without labels


@dataclass(frozen=True, kw_only=True)
class ManifestConfig:
    """How a dataset on disk is read."""

    label_columns: tuple[str, ...] = ("label",)  # CSV columns with labels, one per head of the model
    root: Path | None = None  # folder that CSV paths are relative to; none: the folder of the CSV
    val_fraction: float = 0.15  # share of each class set aside for validation where the data has no such split
    test_fraction: float = 0.15  # share of each class set aside for test where the data has no split at all
    split_seed: int = 0  # which files are set aside
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # head: names in logit order; else sorted

    def __post_init__(self) -> None:
        if min(self.val_fraction, self.test_fraction) < 0 or self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be at least 0 and together less than 1, "
                f"got {self.val_fraction} and {self.test_fraction}"
            )
        if not self.label_columns or len(set(self.label_columns)) < len(self.label_columns):
            raise ConfigError(f"label_columns must name distinct columns, got {self.label_columns}")
        for head, names in self.class_names.items():
            if len(set(names)) < len(names):
                raise ConfigError(f"class_names of '{head}' repeat a name: {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One video, one segment of a video, or one volume."""

    path: str  # relative to the manifest's root, or absolute
    labels: tuple[int, ...]  # class index of each head; -1 where it is not known
    split: str  # train, val or test
    start_seconds: float | None = None  # segment of the video; none: from its start
    end_seconds: float | None = None  # none: to its end
    entry: str | None = None  # address inside an .npz file, for example "train_images[17]"


@dataclass(frozen=True)
class Manifest:
    """The rows of a dataset or of one of its splits, in a fixed order."""

    root: Path
    samples: tuple[Sample, ...]
    class_names: dict[str, tuple[str, ...]]  # names of each head, in logit order
    layout: Layout
    notes: tuple[str, ...] = ()  # what the reader decided and the user should know, one line each

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows, in the order train, val, test."""
        present = {sample.split for sample in self.samples}
        return tuple(name for name in SPLITS if name in present)

    def split(self, name: str) -> Manifest:
        """The rows of one split. Raises DataError when it has none."""
        samples = tuple(sample for sample in self.samples if sample.split == name)
        if not samples:
            raise DataError(f"{self.root}: no '{name}' split; this data has {', '.join(self.splits) or 'no rows'}")
        return replace(self, samples=samples)

    def path_of(self, sample: Sample) -> Path:
        """Where the file of a row is."""
        return self.root / sample.path

    def class_counts(self, head: str | None = None) -> dict[str, int]:
        """Rows per class name of a head (by default the first), classes without rows included."""
        heads = list(self.class_names)
        position = heads.index(head) if head is not None else 0
        counts = Counter(sample.labels[position] for sample in self.samples)
        return {name: counts[i] for i, name in enumerate(self.class_names[heads[position]])}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any row, class name, file size, or content of an ``.npz`` file.

        Independent of where the dataset lies, as long as its paths are relative.
        """
        digest = hashlib.sha256(repr((self.class_names, self.samples)).encode())
        for path in sorted({sample.path for sample in self.samples}):
            file = self.root / path
            digest.update(f"{path} {file.stat().st_size}".encode())
            if file.suffix.lower() == ".npz":
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:16]


def read_manifest(source: str | Path, config: ManifestConfig | None = None) -> Manifest:
    """The manifest of a dataset: a folder, a CSV file or a MedMNIST ``.npz`` file (``tubelet.data.layouts``).

    Where the data has a training but no validation split, a seeded part of each class of the training rows is
    set aside; where it has no splits at all, for validation and for test.

    Raises:
        DataError: nothing usable there, missing files, malformed rows, fewer than two classes, or classes
            without training rows; the message names them.
        ConfigError: ``config.class_names`` names a head that does not exist.
    """
    source, config = Path(source), config or ManifestConfig()
    notes: list[str] = []
    root = source.parent
    heads: tuple[str, ...] = ("label",)
    layout: Layout
    if source.is_dir():
        layout = "split folders" if has_split_folders(source) else "class folders"
        root, rows = source, rows_of_folder(source, notes)
    elif source.suffix.lower() == ".csv" and source.is_file():
        layout, heads = "csv", config.label_columns
        root, rows = config.root or root, rows_of_csv(source, config.label_columns)
    elif source.suffix.lower() == ".npz" and source.is_file():
        layout, rows = "npz", rows_of_npz(source)
    else:
        what = "is none of these" if source.exists() else "does not exist"
        raise DataError(f"{source}: {what}; expected a folder, a .csv file or a MedMNIST .npz file")
    check_files_exist(source, root, rows)
    if unknown := set(config.class_names) - set(heads):
        raise ConfigError(f"class_names has no use for '{min(unknown)}'{nearest(min(unknown), heads)}")
    names = {head: _class_names(rows, i, config.class_names.get(head)) for i, head in enumerate(heads)}
    notes += _numbered(rows, names)
    rows = _with_all_splits(rows, config, notes)
    samples = tuple(_sample(source, row, names) for row in rows)
    _check_classes(source, samples, names)
    return Manifest(root=root, samples=samples, class_names=names, layout=layout, notes=tuple(notes))


def _class_names(rows: list[Row], head: int, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The given names, else those that occur, sorted; numbers are sorted as numbers."""
    found = {row.labels[head] for row in rows}
    if given is not None:
        return given
    if all(name.isdecimal() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _numbered(rows: list[Row], names: dict[str, tuple[str, ...]]) -> list[str]:
    """A note for each head whose labels are numbers that stand for given names: nothing shows that they fit."""
    return [
        f"labels of '{head}' are numbers, read as places in the {len(known)} class names from 0 '{known[0]}' on"
        for i, (head, known) in enumerate(names.items())
        if any(row.labels[i].isdecimal() and row.labels[i] not in known for row in rows)
    ]


def _sample(source: Path, row: Row, names: dict[str, tuple[str, ...]]) -> Sample:
    labels = []
    for label, (head, known) in zip(row.labels, names.items(), strict=True):
        if label in known:
            labels.append(known.index(label))
        elif label.isdecimal() and int(label) < len(known):
            labels.append(int(label))
        else:
            raise DataError(
                f"{source}: class '{label}' of {row.entry or row.path} is not among the {len(known)} class names "
                f"of '{head}'{nearest(label, known)}"
            )
    return Sample(
        path=row.path,
        labels=tuple(labels),
        split=row.split or "train",
        start_seconds=row.start_seconds,
        end_seconds=row.end_seconds,
        entry=row.entry,
    )


def _check_classes(source: Path, samples: Sequence[Sample], names: dict[str, tuple[str, ...]]) -> None:
    """Two classes at least, and nothing to validate or test on that training never shows."""
    for head, (name, known) in enumerate(names.items()):
        if len(known) < 2:
            raise DataError(f"{source}: only one class, '{known[0]}' (head '{name}'); expected at least two")
        trained = {sample.labels[head] for sample in samples if sample.split == "train"}
        if not trained:
            continue  # data to evaluate on
        if len(trained) < 2:
            raise DataError(
                f"{source}: the train split shows one class only, '{known[min(trained)]}'; expected at least two"
            )
        unseen = {sample.labels[head]: sample.split for sample in samples if sample.labels[head] not in trained}
        if unseen:
            label, split = min(unseen.items())
            more = f" (and {len(unseen) - 1} more classes)" if len(unseen) > 1 else ""
            raise DataError(
                f"{source}: class '{known[label]}' of the {split} split{more} has no training rows; "
                "add some or remove the class"
            )


def _with_all_splits(rows: list[Row], config: ManifestConfig, notes: list[str]) -> list[Row]:
    """Rows with a split each, and a validation split if there is a training split."""
    present = {row.split for row in rows}
    if present == {None}:
        rows = [replace(row, split="train") for row in rows]
        fractions = {"val": config.val_fraction, "test": config.test_fraction}
    elif "train" in present and "val" not in present:
        fractions = {"val": config.val_fraction}
    else:
        return rows
    aside = _set_aside([row for row in rows if row.split == "train"], fractions, config.split_seed)
    rows = [replace(row, split=aside.get(_unit(row), row.split)) if row.split == "train" else row for row in rows]
    for split in fractions:
        count = sum(row.split == split for row in rows)
        if count:
            notes.append(
                f"{count} of {len(rows)} rows set aside for '{split}' (split_seed {config.split_seed}), "
                "because the data has no such split"
            )
    return rows


def _unit(row: Row) -> str:
    """What a split may not cut: the segments of one file stay together, else test would show what was trained."""
    return row.entry or row.path


def _set_aside(rows: list[Row], fractions: dict[str, float], seed: int) -> dict[str, str]:
    """The split of each unit that leaves the training rows: a share of every class of the first head.

    Units are ordered by a hash of seed and name, so that neither the order of the rows nor added files reshuffle
    the rest. A split gets at least one unit of each class, unless training would lose the last of a class.
    """
    labels: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for row in rows:
        labels[_unit(row)].update(enumerate(row.labels))
    left = Counter(label for found in labels.values() for label in found)
    classes = defaultdict(list)
    for unit in sorted(labels, key=lambda unit: hashlib.sha256(f"{seed} {unit}".encode()).digest()):
        classes[min(labels[unit])].append(unit)
    taken: dict[str, str] = {}
    for _, units in sorted(classes.items()):
        for split, fraction in fractions.items():
            wanted = max(1, round(len(units) * fraction)) if fraction else 0
            free = (unit for unit in units if unit not in taken and all(left[label] > 1 for label in labels[unit]))
            for unit in itertools.islice(free, wanted):
                taken[unit] = split
                left.subtract(labels[unit])
    return taken
