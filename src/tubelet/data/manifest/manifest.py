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

from tubelet.data.layouts.rows import SPLITS
from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.labels import LabelFinding, labels_of
from tubelet.errors import DataError

Segment = tuple[float | None, float | None, int | None, int | None]  # start and end in seconds, or in frames
_ADDED_FIELDS = frozenset(("start_frame", "end_frame"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One video, one segment of a video, or one volume."""

    path: str  # relative to the manifest's root, or absolute
    labels: tuple[int, ...]  # class index of each head, -1 if unknown; or all classes (Manifest.multi_label)
    split: str  # train, val or test
    start_seconds: float | None = None  # start of the segment; None means the start of the video
    end_seconds: float | None = None  # end of the segment; None means the end of the video
    fps: float | None = None  # frames per second of a frame folder; None means not known, or the file's own
    entry: str | None = None  # address inside an .npz file ("train_images[17]") or a tar shard ("a.mp4@512+9000")
    start_frame: int | None = None  # of a segment in frames of the source, counted from 0
    end_frame: int | None = None  # the first frame after the segment; None means the end of the source
    group: str | None = None  # what it belongs to beside its file (a match, a patient, near-copies); None means nothing

    def __repr__(self) -> str:
        """Without fields that versions before did not have while they are not used: fingerprints hash it.

        The group is left out in any case: it decides the split, which is there.
        """
        used = {name: value for name, value in vars(self).items() if name not in _ADDED_FIELDS or value is not None}
        shown = {name: value for name, value in used.items() if name != "group"}
        return f"Sample({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def segment(self) -> Segment:
        """The part of its source."""
        return self.start_seconds, self.end_seconds, self.start_frame, self.end_frame

    @property
    def is_segment(self) -> bool:
        return any(bound is not None for bound in self.segment)

    def bounds(self, timestamps: Sequence[float] | NDArray[np.float64]) -> tuple[float | None, float | None]:
        """Start and end of the segment in seconds.

        Args:
            timestamps: when each frame of the source appears.

        Raises:
            DataError: the segment begins behind the last frame.
        """
        if self.start_frame is None and self.end_frame is None:
            return self.start_seconds, self.end_seconds
        first, stop, count = self.start_frame or 0, self.end_frame, len(timestamps)
        if first >= count:
            raise DataError(f"the segment starts at frame {first}, but there are {count} frames, from 0 on")
        return float(timestamps[first]), None if stop is None or stop >= count else float(timestamps[stop])


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
    samples: Sequence[Sample]
    class_names: dict[str, tuple[str, ...]]  # names of each head, in logit order
    layout: str  # a name of LAYOUTS, "split folders", "class folders", or "files" (a plain list, without labels)
    notes: tuple[str, ...] = ()  # what was decided while reading, for the user, one line each
    missing: tuple[str, ...] = field(
        default=(), compare=False
    )  # files that annotations name and that do not exist; they have no row
    multi_label: bool = False  # one head, and a video may have several of its classes, or none
    label_findings: tuple[LabelFinding, ...] = field(default=(), compare=False)  # notes tell them too
    folder: Path | None = field(
        default=None, compare=False
    )  # of the file it was read from; None means that it comes from no file
    split_origin: SplitOrigin = field(default=SplitOrigin(), compare=False)

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

    def with_samples(self, samples: Sequence[Sample]) -> Manifest:
        """Other rows of the same data, without what was said of all rows."""
        return replace(self, samples=samples, notes=(), missing=(), label_findings=())

    def path_of(self, sample: Sample) -> Path:
        """The file of a row."""
        return self.root / sample.path

    @property
    def num_groups(self) -> int:
        """Groups, or files where rows state no group."""
        return len(set(units_of(self.samples)))

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
        labels = (labels_of(sample.labels, position, multi_label=self.multi_label) for sample in self.samples)
        counts = Counter(label for of_row in labels for label in of_row)
        return {name: counts[i] for i, name in enumerate(self.class_names[heads[position]])}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any row, class name, file size, or content of an ``.npz`` file.

        A frame folder counts by the number of its files and the size of the first. Independent of where the
        dataset lies, as long as its paths are relative.
        """
        digest = hashlib.sha256(repr((self.class_names, self.samples)).encode())
        for path in sorted({sample.path for sample in self.samples}):
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
