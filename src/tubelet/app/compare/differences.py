"""Two models on one film: where they say the same, and where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tubelet.app.compare.stretches import Stretch, side_by_side

MOST_DIFFERENCES = 2000  # of a film that the page gets, the longest


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A stretch of which two models say different things."""

    start: float
    stop: float
    first: list[str]
    second: list[str]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How long each model gives a label, in seconds."""

    label: str
    first: float
    second: float
    both: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on one film, as far as both know it."""

    known_seconds: float
    agreement: float | None  # share of that time in which both say the same; None where nothing can be compared
    shared: list[str]  # labels that both know; others are not compared
    only_first: list[str]
    only_second: list[str]
    labels: list[Shares]
    differences: list[Difference]  # in the order of time
    left_out: int  # shorter ones


def compared(
    first: Sequence[Stretch],
    second: Sequence[Stretch],
    *,
    knows: tuple[Sequence[str], Sequence[str]],
    known_seconds: float,
) -> Comparison:
    """Compare what two models suggest.

    Args:
        knows: the labels of each model.
        known_seconds: how far both have scored the film.
    """
    shared = [label for label in knows[0] if label in set(knows[1])]
    kept = [[one for one in stretches if one.label in set(shared)] for stretches in (first, second)]
    same, differences = 0.0, list[Difference]()
    seconds = {label: [0.0, 0.0, 0.0] for label in shared}
    for start, stop, one, other in side_by_side(kept[0], kept[1], known_seconds):
        for place, labels in enumerate((one, other, one & other)):
            for label in labels:
                seconds[label][place] += stop - start
        if one == other:
            same += stop - start
        else:
            differences.append(Difference(start=start, stop=stop, first=sorted(one), second=sorted(other)))
    longest = sorted(differences, key=lambda d: d.start - d.stop)[:MOST_DIFFERENCES]
    return Comparison(
        known_seconds=known_seconds,
        agreement=same / known_seconds if shared and known_seconds > 0 else None,
        shared=shared,
        only_first=[label for label in knows[0] if label not in shared],
        only_second=[label for label in knows[1] if label not in shared],
        labels=[
            Shares(label=label, first=found[0], second=found[1], both=found[2])
            for label, found in seconds.items()
            if any(found)
        ],
        differences=sorted(longest, key=lambda d: d.start),
        left_out=len(differences) - len(longest),
    )
