"""Labels that count nowhere, because they lie in a stretch of their film that is ignored.

Nobody labels what is ignored, so that the stretch is most likely an old one: of the labels before, when a film is
labeled further in another file of the same folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from tubelet.data.layouts.bouts.bout import IGNORED, Bout, LabeledFilm
from tubelet.data.layouts.rows import some


def ignored_labels(films: Sequence[LabeledFilm]) -> list[str]:
    """A note that names the films and the stretches. Empty where nothing is lost."""
    found = [line for film in films if (line := _line(film))]
    if not found:
        return []
    return [
        f"labels that lie in a stretch marked '{IGNORED}' of their film count nowhere: {some(found, '; ')}; remove the "
        "mark, or the file with it, where they are to count"
    ]


def _line(film: LabeledFilm) -> str:
    marks = [bout for bout in film.bouts if bout.label == IGNORED]
    pairs = ((bout, next((mark for mark in marks if _is_within(bout, mark)), None)) for bout in film.bouts)
    lines = [
        f"'{bout.label}' from {bout.start:g} in {mark.start:g} to {mark.stop:g} {mark.unit}"
        for bout, mark in pairs
        if mark is not None
    ]
    return f"{film.path}: {some(lines)}" if lines else ""


def _is_within(bout: Bout, mark: Bout) -> bool:
    """Whether a label lies in a mark of the same observer, as far as their own units tell."""
    is_same = (bout.unit, bout.observer) == (mark.unit, mark.observer)
    off = bout.rounding + mark.rounding  # what written times may be off by
    return is_same and bout.label != IGNORED and mark.start - off <= bout.start and bout.stop <= mark.stop + off
