"""The rows of a manifest as columns, and each of them as a ``Sample`` when it is asked for.

Ten million rows as objects take 8 GB in every process. As columns a row takes its path and a few bytes: labels, split,
and what is stated of segments and groups where any row states it.

    N  rows   H  labels of a row
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice, repeat
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.rows import SPLITS
from tubelet.data.manifest.columns.texts import Texts, codes_of
from tubelet.data.manifest.sample import Sample

Places = NDArray[np.intp]  # of rows among the columns
_AT_ONCE = 1 << 12  # rows that are made at once while all are gone through
_NUMBERS = ("start_seconds", "end_seconds", "fps", "start_frame", "end_frame")
_TEXTS = ("entry", "group")


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """All rows of a table. Columns in which no row has a value are left out."""

    paths: Texts
    labels: NDArray[np.int32]  # [N, H]; of rows that have different numbers of labels flat
    label_offsets: NDArray[np.int64] | None = None  # [N + 1] in flat labels
    splits: NDArray[np.int8]  # [N] places in ``split_names``
    split_names: tuple[str, ...]
    numbers: dict[str, NDArray[Any]]  # float64, or objects where not all of a column are floats
    texts: dict[str, Texts]
    is_given: dict[str, NDArray[np.bool_]]  # of each of these two: which rows have a value

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Columns:
        """The columns of rows."""
        widths = {len(sample.labels) for sample in samples}
        flat = np.array([label for sample in samples for label in sample.labels], dtype=np.int32)
        counts = [0, *(len(sample.labels) for sample in samples)]
        names = tuple(dict.fromkeys(sample.split for sample in samples))
        place = {name: place for place, name in enumerate(names)}
        numbers, texts, is_given = {}, {}, {}
        for name in (*_NUMBERS, *_TEXTS):
            values = [getattr(sample, name) for sample in samples]
            if all(value is None for value in values):
                continue
            is_given[name] = np.array([value is not None for value in values])
            if name in _TEXTS:
                texts[name] = Texts.of(value or "" for value in values)
            else:
                numbers[name] = _numbers(values)
        return cls(
            paths=Texts.of(sample.path for sample in samples),
            labels=flat if len(widths) > 1 else flat.reshape(len(samples), max(widths, default=0)),
            label_offsets=np.cumsum(counts, dtype=np.int64) if len(widths) > 1 else None,
            splits=np.array([place[sample.split] for sample in samples], dtype=np.int8),
            split_names=names,
            numbers=numbers,
            texts=texts,
            is_given=is_given,
        )

    @cached_property
    def file_codes(self) -> NDArray[np.int32]:
        """[N] numbers that are equal for rows of one file, or one entry of it."""
        return codes_of([self.paths, self.texts.get("entry")])

    @cached_property
    def name_codes(self) -> NDArray[np.int32]:
        """[N] numbers that are equal for rows whose files splits take for one."""
        return self.file_codes if "entry" not in self.texts else codes_of([Texts.of_bytes(self.entries_or_paths())])

    @cached_property
    def group_codes(self) -> NDArray[np.int32] | None:
        """[N] numbers that are equal for rows of one group. None where no row states one."""
        return codes_of([self.texts["group"]]) if "group" in self.texts else None

    def with_splits(self, splits: NDArray[np.int8]) -> Columns:
        """The columns with other splits. What is known of files stays known."""
        other = replace(self, splits=splits)
        vars(other).update({name: vars(self)[name] for name in ("file_codes", "name_codes") if name in vars(self)})
        return other

    def entries_or_paths(self, places: Places | None = None) -> Iterator[bytes]:
        """What files are known by when they are split, as UTF-8."""
        paths = self.paths.iterate(places)
        if "entry" not in self.texts:
            return paths
        return (entry or path for entry, path in zip(self.texts["entry"].iterate(places), paths, strict=True))

    def rows(self, places: Places) -> Iterator[Sample]:
        """The rows at places."""
        whole: dict[str, Iterable[Any]] = {"path": self.paths.decoded(places), "labels": self._labels(places)}
        whole["split"] = map(self.split_names.__getitem__, self.splits[places].tolist())
        for name in (*_NUMBERS, *_TEXTS):
            if name not in self.is_given:
                whole[name] = repeat(None, len(places))
                continue
            given = self.is_given[name][places].tolist()
            values: Iterable[Any] = (
                self.texts[name].decoded(places) if name in _TEXTS else self.numbers[name][places].tolist()
            )
            whole[name] = (value if is_given else None for value, is_given in zip(values, given, strict=True))
        ordered = [whole[field.name] for field in fields(Sample)]
        names = [field.name for field in fields(Sample)]
        for values in zip(*ordered, strict=True):
            yield Sample(**dict(zip(names, values, strict=True)))

    def _labels(self, places: Places) -> Iterable[tuple[int, ...]]:
        if self.label_offsets is None:
            return map(tuple, self.labels[places].tolist())
        bounds = zip(self.label_offsets[places].tolist(), self.label_offsets[places + 1].tolist(), strict=True)
        return (tuple(self.labels[start:end].tolist()) for start, end in bounds)


def _numbers(values: Sequence[Any]) -> NDArray[Any]:
    """A column of floats or whole numbers, which come back as the numbers that they were."""
    given = [value for value in values if value is not None]
    for kind, dtype in ((float, np.float64), (int, np.int64)):
        if all(type(value) is kind for value in given):
            return np.array([0 if value is None else value for value in values], dtype=dtype)
    return np.array([0 if value is None else value for value in values], dtype=object)


def _num_different(codes: NDArray[np.integer]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


class Rows(Sequence[Sample]):
    """Rows in a fixed order, all those of some columns or some of them.

    Args:
        columns: shared between the splits of a manifest.
        places: of these rows in the columns, in order. None means all.
    """

    def __init__(self, columns: Columns, places: Places | None = None) -> None:
        self.columns, self._places = columns, places

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Rows:
        """The columns of rows."""
        return cls(Columns.of(tuple(samples)))

    def __len__(self) -> int:
        return len(self.columns.splits) if self._places is None else len(self._places)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Sample | Rows:
        if isinstance(place, slice):
            return self.taken(np.arange(len(self))[place])
        places = np.array([range(len(self))[place]])
        return next(self.columns.rows(places if self._places is None else self._places[places]))

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self.columns.rows(self.places[start : start + _AT_ONCE])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows | tuple):
            return NotImplemented
        return self is other or (len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True)))

    def __repr__(self) -> str:
        few = [*islice(self, 3)]
        return f"Rows({len(self)}: {', '.join(map(repr, few))}{', ...' if len(self) > len(few) else ''})"

    @property
    def places(self) -> Places:
        """[N] of these rows among the columns."""
        return np.arange(len(self)) if self._places is None else self._places

    def taken(self, places: Places) -> Rows:
        """The rows at some places of these."""
        return Rows(self.columns, places if self._places is None else self._places[places])

    @property
    def splits(self) -> frozenset[str]:
        """The splits that have rows."""
        counts = np.bincount(self._of(self.columns.splits), minlength=len(self.columns.split_names))
        return frozenset(name for name, count in zip(self.columns.split_names, counts.tolist(), strict=True) if count)

    def of_split(self, name: str) -> Rows:
        """The rows of a split."""
        if name not in self.columns.split_names:
            return self.taken(np.empty(0, dtype=np.intp))
        return self.taken((self._of(self.columns.splits) == self.columns.split_names.index(name)).nonzero()[0])

    def labels_of_head(self, head: int) -> NDArray[np.int32] | None:
        """[N] class indices of a head, -1 where unknown. None where rows have different numbers of labels."""
        if self.columns.label_offsets is not None or head >= self.columns.labels.shape[1]:
            return None
        return self._of(self.columns.labels[:, head])

    @property
    def num_units(self) -> int:
        """Units of these rows (``groups.units_of``): groups, or files where rows state no group."""
        names, groups = self._of(self.columns.name_codes), self.columns.group_codes
        if groups is None:
            return _num_different(names)
        from scipy.sparse import coo_matrix  # here, because processes that read start without scipy
        from scipy.sparse.csgraph import connected_components

        is_grouped = self._of(self.columns.is_given["group"])
        first = int(self.columns.name_codes.max(initial=0)) + 1  # nodes are files, and from here on groups
        ends = names[is_grouped], first + self._of(groups)[is_grouped]
        size = first + int(groups.max(initial=0)) + 1
        links = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(size, size))
        return _num_different(connected_components(links, directed=False)[1][names])

    @property
    def num_files(self) -> int:
        """Files, and entries of one file each for itself."""
        return _num_different(self._of(self.columns.file_codes))

    def of_repeated_files(self) -> Rows:
        """The rows whose file, or entry of one, has other rows among these."""
        codes = self._of(self.columns.file_codes)
        return self.taken((np.bincount(codes)[codes] > 1).nonzero()[0] if len(codes) else np.empty(0, dtype=np.intp))

    def paths(self) -> Iterator[str]:
        """The path of each row."""
        return self.columns.paths.decoded(self._places)

    def entries_or_paths(self) -> Iterator[bytes]:
        """What the file of each row is known by when it is split, as UTF-8."""
        return self.columns.entries_or_paths(self._places)

    def digest(self) -> hashlib._Hash:
        """A hash of all that rows state but their groups, which decide splits, and those are there."""
        whole, columns = hashlib.sha256(f"{len(self)}".encode()), self.columns
        splits = np.array([*map(SPLITS.index, columns.split_names)], dtype=np.int8)
        whole.update(splits[self._of(columns.splits)].tobytes())
        if columns.label_offsets is None:
            whole.update(f"{columns.labels.shape[1]}".encode() + self._of(columns.labels).tobytes())
        else:
            whole.update(repr([row.labels for row in self]).encode())
        for name in _NUMBERS:
            if name in columns.numbers and (given := self._of(columns.is_given[name])).any():
                whole.update(name.encode() + given.tobytes() + self._of(columns.numbers[name]).astype(float).tobytes())
        columns.paths.hash_into(whole, self._places)
        if "entry" in columns.texts and self._of(columns.is_given["entry"]).any():
            columns.texts["entry"].hash_into(whole, self._places)
        return whole

    def _of(self, column: NDArray[Any]) -> NDArray[Any]:
        return column if self._places is None else column[self._places]
