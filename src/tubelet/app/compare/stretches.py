"""Which labels hold at every moment: what models suggest and people label, cut where any of it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

_SHORTEST_SECONDS = 1e-6  # what lies between two edges that are the same but for rounding


class Stretch(Protocol):
    """A suggestion or a mark."""

    @property
    def label(self) -> str: ...

    @property
    def start(self) -> float: ...

    @property
    def stop(self) -> float: ...


def side_by_side(
    first: Sequence[Stretch], second: Sequence[Stretch], stop: float
) -> Iterator[tuple[float, float, frozenset[str], frozenset[str]]]:
    """The labels of both from 0 to ``stop``: (start, stop, those of the first, those of the second), each as long as
    neither changes, in order and without gaps.
    """
    changes: dict[float, list[tuple[int, str, int]]] = {}
    for which, stretches in enumerate((first, second)):
        for one in stretches:
            start, end = max(0.0, one.start), min(one.stop, stop)
            if end > start:
                changes.setdefault(start, []).append((which, one.label, 1))
                changes.setdefault(end, []).append((which, one.label, -1))
    counts: tuple[dict[str, int], dict[str, int]] = {}, {}
    begun, held = 0.0, (frozenset[str](), frozenset[str]())
    for edge in sorted({*changes, stop}):
        if edge >= stop:
            break
        for which, label, by in changes[edge]:
            counts[which][label] = counts[which].get(label, 0) + by
        now = _held(counts[0]), _held(counts[1])
        if now != held:
            if edge - begun > _SHORTEST_SECONDS:
                yield begun, edge, *held
                begun = edge
            held = now
    if stop - begun > _SHORTEST_SECONDS:
        yield begun, stop, *held


def _held(counts: dict[str, int]) -> frozenset[str]:
    return frozenset(label for label, number in counts.items() if number > 0)
