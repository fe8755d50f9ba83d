"""The manifest: one row per video, segment or volume, whatever the layout of the dataset on disk.

``tubelet.data.manifest.read`` makes it from the files of a dataset. All later code knows these rows only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.config import MAX_LOOKED_AT
from tubelet.data.layouts.rows import SPLITS
from tubelet.data.manifest.columns.rows import Rows
from tubelet.data.manifest.labels import LabelFinding, labels_of
from tubelet.data.manifest.sample import Sample
from tubelet.errors import DataError

OF_ROWS = "rows-"  # begins a fingerprint for which no file was looked at


@dataclass(frozen=True, kw_only=True)
class SplitOrigin:
    """Where the splits of a manifest come from."""

    made: tuple[str, ...] = ()  # the splits that were made of rows without; empty means that the data state all
    kept_together: str = "files"  # beside the rows of one file, in words: "files", "groups by column 'patient'"
    seed: int = 0
    fold: str = ""  # "2 of 5" in cross-validation


@dataclass(frozen=True)
class Manifest:
    """The rows of a dataset or of one of its splits, in a fixed order."""

    root: Path
    samples: Sequence[Sample]  # a list or tuple becomes ``Rows``, which hold columns
    class_names: dict[str, tuple[str, ...]]  # names of each head, in logit order
    layout: str  # a name of LAYOUTS, "split folders", "class folders", or "files" (a plain list, without labels)
    notes: tuple[str, ...] = ()  # what was decided while reading, for the user, one line each
    missing: tuple[str, ...] = field(
        default=(), compare=False
    )  # files that annotations name and that do not exist; they have no row
    multi_label: bool = False  # one head, and a video may have several of its classes, or none
    is_numeric: bool = False  # labels are numbers: class names are those that occur, and nothing is counted of them
    label_findings: tuple[LabelFinding, ...] = field(default=(), compare=False)  # notes tell them too
    folder: Path | None = field(
        default=None, compare=False
    )  # of the file it was read from; None means that it comes from no file
    split_origin: SplitOrigin = field(default=SplitOrigin(), compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.samples, list | tuple):
            object.__setattr__(self, "samples", Rows.of(self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def rows(self) -> Rows:
        """The rows as columns. A process that reads one row has none (``loading.one_row``)."""
        if not isinstance(self.samples, Rows):
            raise TypeError(f"{type(self.samples).__name__} holds no columns")
        return self.samples

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows, in the order train, val, test."""
        present = self.rows.splits
        return tuple(name for name in SPLITS if name in present)

    def split(self, name: str) -> Manifest:
        """The rows of one split. Raises DataError when it has none."""
        samples = self.rows.of_split(name)
        if not samples:
            raise DataError(f"{self.root}: no '{name}' split; this data has {', '.join(self.splits) or 'no rows'}")
        return replace(self, samples=samples)

    def with_samples(self, samples: Sequence[Sample]) -> Manifest:
        """Other rows of the same data, without what was said of all rows."""
        return replace(self, samples=samples, notes=(), missing=(), label_findings=())

    def path_of(self, sample: Sample) -> Path:
        """The file of a row."""
        return self.root / sample.path

    @property
    def num_groups(self) -> int:
        """Groups, or files where rows state no group."""
        return self.rows.num_units

    @property
    def split_text(self) -> str:
        """How the splits were made, in one line."""
        origin = self.split_origin
        counts = ", ".join(
            f"{name} {len(part)} ({part.num_groups})" for name in self.splits for part in [self.split(name)]
        )
        what = origin.kept_together
        if origin.fold:
            how = f"fold {origin.fold} by {what}, split_seed {origin.seed}"
        elif origin.made:
            how = f"{' and '.join(origin.made)} split off by {what}, split_seed {origin.seed}"
        else:
            how = f"splits stated by the data, {what}"
        return f"{how}; rows (of so many {'files' if what.startswith('files') else 'groups'}): {counts}"

    def class_counts(self, head: str | None = None) -> dict[str, int]:
        """Rows per class name of a head (by default the first), classes without rows included."""
        heads = list(self.class_names)
        position = heads.index(head) if head is not None else 0
        names, column = self.class_names[heads[position]], self._labels(position)
        if column is not None:
            counts = np.bincount(column + 1, minlength=len(names) + 1)[1:]  # without -1, not known
            return dict(zip(names, counts[: len(names)].tolist(), strict=True))
        several = Counter(label for sample in self.samples for label in self._of_head(sample, position))
        return {name: several[i] for i, name in enumerate(names)}

    def labels_that_occur(self, head: int) -> set[int]:
        """The class indices that rows have of a head."""
        return {label for labels in self.label_sets(head) for label in labels}

    def last_split_of(self, head: int, label: int) -> str:
        """The split of the last row that has a label of a head."""
        if (column := self._labels(head)) is not None:
            return self.samples[int((column == label).nonzero()[0][-1])].split
        return next(s.split for s in reversed(self.samples) if label in self._of_head(s, head))

    def label_sets(self, head: int) -> set[tuple[int, ...]]:
        """The labels that rows have of a head, each combination once; () where they are not known."""
        if (column := self._labels(head)) is not None:
            return {() if label < 0 else (label,) for label in np.unique(column).tolist()}
        return {tuple(self._of_head(sample, head)) for sample in self.samples}

    def _of_head(self, sample: Sample, head: int) -> list[int]:
        return labels_of(sample.labels, head, multi_label=self.multi_label)

    def _labels(self, head: int) -> NDArray[np.int32] | None:
        """[N] the one label of each row for a head; None where rows have several, or different numbers of them."""
        return None if self.multi_label else self.rows.labels_of_head(head)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any row, class name, file size, or content of an ``.npz`` file.

        A frame folder counts by the number of its files and the size of the first. Independent of where the
        dataset lies, as long as its paths are relative. Of more rows than ``MAX_LOOKED_AT`` no file is looked at: it
        changes with rows and class names, and ``rows-`` stands before its digits.
        """
        if len(self) <= MAX_LOOKED_AT:
            return self.fingerprint_with_files
        digest = self.rows.digest()
        digest.update(repr(self.class_names).encode())
        return f"{OF_ROWS}{digest.hexdigest()[:16]}"

    def is_of_fingerprint(self, known: str) -> bool:
        """Whether these are the data of a fingerprint, also of one that a version before took of many rows."""
        is_earlier = self.fingerprint.startswith(OF_ROWS) and not known.startswith(OF_ROWS)
        return known == (self.fingerprint_with_files if is_earlier else self.fingerprint)

    @cached_property
    def fingerprint_with_files(self) -> str:
        """The fingerprint for which every file is looked at."""
        digest = hashlib.sha256(f"({self.class_names!r}, (".encode())
        for number, sample in enumerate(self.samples):
            digest.update(f"{', ' * bool(number)}{sample!r}".encode())
        digest.update(b",))" if len(self) == 1 else b"))")  # as the repr of a tuple, which versions before hashed
        for path in sorted(set(self.rows.paths())):
            file = self.root / path
            if file.is_dir():
                names = sorted(child.name for child in file.iterdir())
                size = (file / names[0]).stat().st_size if names else 0
                digest.update(f"{path} {len(names)} {size}".encode())
                continue
            digest.update(f"{path} {file.stat().st_size}".encode())
            if file.suffix.lower() == ".npz":
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:16]
