"""A row as it goes to the process that reads it: that process holds no list of rows, only the row of the moment.

So the memory of a reader process does not depend on the number of rows, and starting one takes no longer for many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

from tubelet.data.loading.content_hash import ContentHasher
from tubelet.data.loading.dataset import Dataset, Item
from tubelet.data.manifest.manifest import Sample


@dataclass(frozen=True)
class IndexedRow:
    """A row of a dataset with all that reading it depends on."""

    index: int  # as ``Dataset.read`` takes it
    epoch: int
    sample: Sample
    is_hashed: bool = False  # whether the item gets the hash of its file


class OneRow(Sequence[Sample]):
    """The rows of a manifest of which one is there. Any other raises LookupError.

    Args:
        num_rows: of the manifest.
        place: of the row that is there. None means that none is.
    """

    def __init__(self, num_rows: int, place: int | None = None, sample: Sample | None = None) -> None:
        self._num_rows, self._place, self._sample = num_rows, place, sample

    def __len__(self) -> int:
        return self._num_rows

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...
    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if self._sample is None or place != self._place:
            raise LookupError(f"row {place} is not in this process, which has row {self._place} of {self._num_rows}")
        return self._sample


class ClipReader:
    """Reads the rows of a dataset in a worker pool, or in this process. It holds none of them."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset.with_samples(OneRow(len(dataset)))
        self._hasher = ContentHasher(dataset.manifest.root)

    def name(self, row: IndexedRow) -> str:
        """The file of a row as messages name it."""
        return self._holding(row).name(row.index)

    def run(self, row: IndexedRow, allow: Callable[[float], None]) -> Item:
        """The item of a row. Raises DataError."""
        began = time.monotonic()
        item = self._holding(row).read(row.index, row.epoch)
        if not row.is_hashed:
            return item
        spent = time.monotonic() - began
        return replace(item, content=self._hasher.content_of(row.sample, lambda seconds: allow(spent + seconds)))

    def _holding(self, row: IndexedRow) -> Dataset:
        number = len(self._dataset)
        return self._dataset.with_samples(OneRow(number, row.index % number, row.sample))
