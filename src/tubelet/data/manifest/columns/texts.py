"""A column of texts in one buffer: eight bytes for each text beside its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 16  # texts that are there as Python objects while a column is made or read
_ERRORS = "surrogatepass"  # names of files that are no UTF-8 come back as they were


class Texts:
    """Texts by their place.

    Args:
        buffer: all of them as UTF-8, one behind the other.
        offsets: where each begins in the buffer, and the end of the last.
    """

    def __init__(self, buffer: bytes, offsets: NDArray[np.int64]) -> None:
        self._buffer, self._offsets = buffer, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Take them from an iterator, a block at a time."""
        maker, left = TextsMaker(), iter(texts)
        while block := list(islice(left, _AT_ONCE)):
            maker.add(block)
        return maker.made()

    @classmethod
    def of_bytes(cls, texts: Iterable[bytes]) -> Texts:
        """Take them from an iterator, as they lie in a buffer."""
        parts = list(texts)
        lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        return cls(b"".join(parts), np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, place: int) -> str:
        return self.raw(place).decode(errors=_ERRORS)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each text."""
        return np.diff(self._offsets)

    def raw(self, place: int) -> bytes:
        """A text as it lies in the buffer."""
        return self._buffer[self._offsets[place] : self._offsets[place + 1]]

    def iterate(self, places: NDArray[np.intp] | None = None) -> Iterator[bytes]:
        """The texts at places in order, as bytes; None means all."""
        for start in range(0, len(self) if places is None else len(places), _AT_ONCE):
            if places is None:
                bounds = self._offsets[start : start + _AT_ONCE + 1].tolist()
                yield from map(self._buffer.__getitem__, map(slice, bounds, bounds[1:]))
            else:
                block = places[start : start + _AT_ONCE]
                bounds, ends = self._offsets[block].tolist(), self._offsets[block + 1].tolist()
                yield from map(self._buffer.__getitem__, map(slice, bounds, ends))

    def decoded(self, places: NDArray[np.intp] | None = None) -> Iterator[str]:
        """The texts at places in order; None means all."""
        return (raw.decode(errors=_ERRORS) for raw in self.iterate(places))

    def hash_into(self, digest: hashlib._Hash, places: NDArray[np.intp] | None) -> None:
        """Update a hash by the texts at places and their lengths; None means all."""
        if places is None:
            digest.update(self.lengths.tobytes())
            digest.update(self._buffer)
            return
        digest.update((self._offsets[places + 1] - self._offsets[places]).tobytes())
        for start in range(0, len(places), _AT_ONCE):
            digest.update(b"".join(self.iterate(places[start : start + _AT_ONCE])))


class TextsMaker:
    """Makes a column block by block."""

    def __init__(self) -> None:
        self._parts, self._lengths = list[bytes](), [np.zeros(1, dtype=np.int64)]

    def add(self, texts: Sequence[str]) -> None:
        """Add a block behind the others."""
        whole = "".join(texts)
        if whole.isascii():
            self._parts.append(whole.encode())
            lengths = map(len, texts)
        else:
            encoded = [text.encode(errors=_ERRORS) for text in texts]
            self._parts.append(b"".join(encoded))
            lengths = map(len, encoded)
        self._lengths.append(np.fromiter(lengths, dtype=np.int64, count=len(texts)))

    def made(self) -> Texts:
        """The column."""
        offsets = np.concatenate(self._lengths)
        np.cumsum(offsets, out=offsets)
        return Texts(b"".join(self._parts), offsets)


def codes_of(columns: Sequence[Texts | None]) -> NDArray[np.int32]:
    """A number for each row, equal for rows whose texts in all columns are equal."""
    present = [column for column in columns if column is not None]
    hashes = np.zeros(len(present[0]), dtype=np.uint64)
    for column in present:
        own = np.fromiter(map(hash, column.iterate()), dtype=np.int64, count=len(column)).view(np.uint64)
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + own  # the first column counts differently from the second
    order = np.argsort(hashes, kind="stable")
    in_order = hashes[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = in_order[1:] != in_order[:-1]
    repeated = (~is_new).nonzero()[0]
    if any(_differ(present, order[place - 1], order[place]) for place in repeated.tolist()):
        return _exact_codes(present)  # two texts of one hash: one in a million tables of ten million rows has such
    codes = np.empty(len(order), dtype=np.int32)
    codes[order] = np.cumsum(is_new, dtype=np.int32) - 1
    return codes


def _differ(columns: Sequence[Texts], one: int, other: int) -> bool:
    return any(column.raw(one) != column.raw(other) for column in columns)


def _exact_codes(columns: Sequence[Texts]) -> NDArray[np.int32]:
    known: dict[tuple[bytes, ...], int] = {}
    keys = zip(*(column.iterate() for column in columns), strict=True)
    return np.fromiter((known.setdefault(key, len(known)) for key in keys), dtype=np.int32, count=len(columns[0]))
