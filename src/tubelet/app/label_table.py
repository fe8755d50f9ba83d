"""The table of labels of one film: marks as rows, and the marks of a table that another program left."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tubelet.app.history import Mark
from tubelet.app.library import FilmFile
from tubelet.app.reading import About
from tubelet.data.layouts.bouts.bout import Bout, LabeledFilm
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.table import FIRST_FRAMES, STARTS
from tubelet.data.layouts.bouts.write import WrittenFilm, bouts_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import table_lines
from tubelet.data.layouts.tables import separator_of
from tubelet.errors import DataError
from tubelet.tasks.per_frame.targets import FilmClock

_OF_FILMS = ("split", "group")  # columns that all rows of a film must agree on


def relative_path(film: FilmFile, folder: Path) -> str:
    """How tables in the labels folder name a film."""
    return Path(os.path.relpath(film.path.resolve(), folder.resolve())).as_posix()


def table_content(film: FilmFile, about: About, folder: Path, marks: Iterable[Mark]) -> bytes:
    """The table of these marks; nothing without a label, because a row alone would say that the film shows none."""
    written = written_film(relative_path(film, folder), about, marks)
    return bouts_csv([written]).encode(errors="surrogateescape") if written.bouts else b""


def written_film(path: str, about: About, marks: Iterable[Mark]) -> WrittenFilm:
    """The labels among marks, for a table or another program."""
    labels = sorted(mark for mark in marks if mark.kind == "label")
    of_film = {name: text for mark in labels for name, text in mark.cells if name in _OF_FILMS}
    bouts = [_bout(mark, of_film) for mark in labels]
    return WrittenFilm(path=path, duration_seconds=about.duration_seconds, fps=about.fps, bouts=bouts)


def _bout(mark: Mark, of_film: dict[str, str]) -> Bout:
    cells = dict(mark.cells) | of_film
    subject, observer = cells.pop("subject", ""), cells.pop("observer", "")
    start, stop = float(mark.start), float(mark.stop)
    return Bout(
        label=mark.label, start=start, stop=stop, subject=subject, observer=observer, others=tuple(cells.items())
    )


def clock_of(about: About) -> FilmClock:
    """The clock of a film whose steps are its frames."""
    frames = np.arange(len(about.timestamps))
    return FilmClock(timestamps=about.timestamps, duration_seconds=about.duration_seconds, first_frames=frames)


def marks_of_bouts(film: LabeledFilm, about: About) -> set[Mark]:
    """The bouts of a label file at the times of frames. Raises DataError."""
    clock, marks = clock_of(about), set[Mark]()
    for bout in film.bouts:
        start, stop = clock.span(bout)
        cells = {"subject": bout.subject, "observer": bout.observer, **dict(bout.others)}
        known = tuple(sorted((name, text) for name, text in cells.items() if text))
        marks.add(Mark(start=round(start, 6), stop=round(stop, 6), label=bout.label, cells=known))
    return marks


def table_marks(table: Path, film: FilmFile, about: About) -> set[Mark]:
    """What another program left in a table.

    Raises:
        DataError: it cannot be read, or it holds rows of other films, which the next edit would lose.
    """
    try:
        if _is_header_alone(table):
            return set()
        films = read_bouts(table, ManifestConfig(root=table.parent)).films
        mine = [f for f in films if (table.parent / f.path).resolve() == film.path.resolve()]
        if len(mine) < len(films):
            raise DataError(f"{table}: names other films than {film.name}; give each a table of its own")
        return {mark for labeled in mine for mark in marks_of_bouts(labeled, about)}
    except DataError as error:
        line = str(error).replace(str(table), table.name)
        raise DataError(f"the labels cannot be read: {line}; mend or remove the file") from None


def _is_header_alone(table: Path) -> bool:
    """Whether a table has the columns of bouts and no row: it labels nothing."""
    rows = list(table_lines(table, separator_of(table, None)))
    return len(rows) == 1 and {"path", "label"} <= set(rows[0][1]) and bool({*STARTS, *FIRST_FRAMES} & set(rows[0][1]))
