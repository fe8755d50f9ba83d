"""What people labeled beside what a model finds: seconds of every pair of labels, and the stretches behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tubelet.app.compare.stretches import Stretch, side_by_side
from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED, TO_LABEL

MOST_STRETCHES = 60  # of a cell that the page gets, the longest
NOTHING = ""  # the label of a moment that has none


@dataclass(frozen=True, kw_only=True)
class LabeledStretch:
    """A stretch of a film in a cell."""

    film: str  # its id
    name: str
    start: float
    stop: float


@dataclass(frozen=True, kw_only=True)
class LookedAt:
    """A film with labels and scores."""

    film: str
    name: str
    seconds: float
    labeled: Sequence[Stretch]
    found: Sequence[Stretch]


@dataclass
class Cell:
    """A pair of labels."""

    labeled: str
    found: str
    seconds: float = 0.0
    count: int = 0
    stretches: list[LabeledStretch] = field(default_factory=list)  # the longest


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """All pairs that occur."""

    labels: list[str]  # rows and columns; "" stands for no label
    cells: list[Cell]
    films: int
    agreement: float | None  # share of the labeled time in which the model gives one of its labels


def confusion_of(films: Iterable[LookedAt], known: Sequence[str]) -> Confusion:
    """Cells of all films together.

    A moment with one label and one finding counts in their cell. Where several hold at once, those that agree count on
    the diagonal, and what is left of either side counts against the rest of the other, or against no label. A moment
    without labels counts only where the model finds something: whoever labels bouts leaves the rest empty. One that is
    ignored, or still to be labeled, counts nowhere, and background is no label of its own.

    Args:
        known: labels of the model, which come first.
    """
    cells: dict[tuple[str, str], Cell] = {}
    right = whole = 0.0
    number, no_labels = 0, {BACKGROUND} - set(known)
    for film in films:
        number += 1
        for start, stop, marked, found in side_by_side(film.labeled, film.found, film.seconds):
            if marked & {IGNORED, TO_LABEL}:
                continue
            labeled = marked - no_labels
            if labeled:
                whole += stop - start
                right += (stop - start) * bool(labeled & found)
            for pair in _pairs(labeled, found):
                cell = cells.setdefault(pair, Cell(*pair))
                cell.seconds += stop - start
                _extend(cell, LabeledStretch(film=film.film, name=film.name, start=start, stop=stop))
    named = {label for pair in cells for label in pair if label != NOTHING}
    labels = [*(label for label in known if label in named), *sorted(named - set(known))]
    for cell in cells.values():
        cell.count = len(cell.stretches)
        cell.stretches = sorted(cell.stretches, key=lambda one: one.start - one.stop)[:MOST_STRETCHES]
    return Confusion(
        labels=[*labels, NOTHING],
        cells=list(cells.values()),
        films=number,
        agreement=right / whole if whole else None,
    )


def _pairs(labeled: frozenset[str], found: frozenset[str]) -> list[tuple[str, str]]:
    both = labeled & found
    missed, wrong = sorted(labeled - found), sorted(found - labeled)
    pairs = [(label, label) for label in sorted(both)]
    if missed and wrong:
        return pairs + [(one, other) for one in missed for other in wrong]
    return pairs + [(one, NOTHING) for one in missed] + [(NOTHING, other) for other in wrong]


def _extend(cell: Cell, stretch: LabeledStretch) -> None:
    """Stretches that follow each other are one."""
    if cell.stretches:
        last = cell.stretches[-1]
        if last.film == stretch.film and abs(last.stop - stretch.start) < 1e-6:
            cell.stretches[-1] = LabeledStretch(film=last.film, name=last.name, start=last.start, stop=stretch.stop)
            return
    cell.stretches.append(stretch)
