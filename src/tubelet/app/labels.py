"""Labels of films as plain tables, saved after every edit.

``<film>.csv`` in the labels folder has a row per stretch (``tubelet.data.layouts.bouts.table``); training reads the
folder as it is. The history beside it, in a hidden folder, is written first: whichever of the two a kill cuts off, the
next start completes. A table that another program changed counts as an edit of its own.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubelet.app.config import MAX_MARKS
from tubelet.app.history import Edit, History, Mark, Step, without_overlaps
from tubelet.app.library import FilmFile
from tubelet.app.reading import About
from tubelet.data.layouts.bouts.bout import Bout, LabeledFilm
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, bouts_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError
from tubelet.files import write_atomically
from tubelet.tasks.per_frame.targets import FilmClock

_LONGEST_LABEL = 80


class Changed(DataError):
    """The labels were edited elsewhere since the page read them."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An edit as the page asks for it; times need not be those of frames."""

    what: str
    add: tuple[Mark, ...] = ()
    remove: tuple[Mark, ...] = ()


class LabelStore:
    """The labels of all films."""

    def __init__(self, folder: Path, history_folder: Path) -> None:
        self.folder, self._history_folder = folder, history_folder
        self._lock = threading.Lock()

    def read(self, film: FilmFile, about: About) -> History:
        """The labels of a film as they are now. Raises DataError for a table that cannot be read."""
        with self._lock:
            return self._read(film, about)

    def edit(self, film: FilmFile, about: About, version: int, asked: Asked) -> History:
        """Carry out an edit of the labels of that version.

        Raises:
            Changed: they have another version by now; nothing is changed.
            DataError: a stretch that is none.
        """
        with self._lock:
            history = self._read(film, about)
            _check_version(history, version)
            edit = _edit(history, asked, about)
            if len(history.after(edit)) > MAX_MARKS:
                raise DataError(f"a film takes at most {MAX_MARKS:,} labels; remove some first")
            if edit.added or edit.removed:
                self._write(film, about, history, "edit", edit)
            return history

    def undo(self, film: FilmFile, about: About, version: int) -> History:
        """Take the last edit back, also of an earlier session. Raises as ``edit``."""
        with self._lock:
            history = self._read(film, about)
            _check_version(history, version)
            if not history.done:
                raise DataError("there is nothing to undo")
            self._write(film, about, history, "undo", history.done[-1].inverse)
            return history

    def redo(self, film: FilmFile, about: About, version: int) -> History:
        """Do the last edit that was undone again. Raises as ``edit``."""
        with self._lock:
            history = self._read(film, about)
            _check_version(history, version)
            if not history.undone:
                raise DataError("there is nothing to do again")
            self._write(film, about, history, "redo", history.undone[-1])
            return history

    def written(self, film: FilmFile, about: About) -> WrittenFilm:
        """A film for export."""
        return _written(str(film.path.resolve()), about, self.read(film, about).marks)

    def is_labeled(self, film: FilmFile) -> bool:
        """Whether the film has a table."""
        return self.table(film).is_file()

    def table(self, film: FilmFile) -> Path:
        """Where the labels of a film are."""
        return self.folder / f"{_file_name(film)}.csv"

    def _read(self, film: FilmFile, about: About) -> History:
        history, table = History.read(self._history_folder / f"{_file_name(film)}.jsonl"), self.table(film)
        content = self._content(film, about, history.marks)
        there = table.read_bytes() if table.is_file() else b""
        if _digest(there) == history.digest or (not there and not history.version):
            return history
        before = [_digest(self._content(film, about, history.after(edit.inverse))) for edit in _last(history)]
        if not there or _digest(there) in before:  # a kill came between the history and the table
            write_atomically(table, content)
            return history
        marks = _marks_of(table, film, about)
        kept = {mark for mark in history.marks if mark.kind == "rejected"}
        edit = Edit(
            what="changes by another program",
            added=tuple(sorted(marks - history.marks)),
            removed=tuple(sorted(history.marks - marks - kept)),
        )
        history.append("edit", edit, _digest(there))
        return history

    def _write(self, film: FilmFile, about: About, history: History, step: Step, edit: Edit) -> None:
        content = self._content(film, about, history.after(edit))
        history.append(step, edit, _digest(content))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.table(film), content)

    def _content(self, film: FilmFile, about: About, marks: set[Mark]) -> bytes:
        path = os.path.relpath(film.path.resolve(), self.folder.resolve())
        return bouts_csv([_written(Path(path).as_posix(), about, marks)]).encode(errors="surrogateescape")


def clock_of(about: About) -> FilmClock:
    """The clock of a film whose steps are its frames."""
    frames = np.arange(len(about.timestamps))
    return FilmClock(timestamps=about.timestamps, duration_seconds=about.duration_seconds, first_frames=frames)


def marks_of_bouts(film: LabeledFilm, about: About) -> set[Mark]:
    """The bouts of a label file at the times of frames. Raises DataError."""
    clock = clock_of(about)
    spans = [(bout.label, clock.span(bout)) for bout in film.bouts]
    return {Mark(start=round(a, 6), stop=round(b, 6), label=label) for label, (a, b) in spans}


def _edit(history: History, asked: Asked, about: About) -> Edit:
    clock, removed, added = clock_of(about), list[Mark](), list[Mark]()
    for mark in asked.remove:
        if mark in history.marks:
            removed.append(mark)
    left = set(history.marks) - set(removed)
    for mark in asked.add:
        if not mark.label.strip() or len(mark.label) > _LONGEST_LABEL or not mark.label.isprintable():
            raise DataError(f"a label has 1 to {_LONGEST_LABEL} printable letters")
        if not 0 <= mark.start < mark.stop:
            raise DataError(f"a stretch ends behind its start, got {mark.start:g} to {mark.stop:g} s")
        bout = Bout(label=mark.label.strip(), start=float(mark.start), stop=float(mark.stop), where="the page")
        start, stop = clock.span(bout)
        new = Mark(start=round(start, 6), stop=round(stop, 6), label=bout.label, kind=mark.kind)
        grown, met = without_overlaps(sorted(left), new)
        removed += [m for m in met if m not in added]
        added = [*(m for m in added if m not in met), grown]
        left = (left - set(met)) | {grown}
    same = set(added) & set(removed)
    return Edit(
        what=asked.what,
        added=tuple(mark for mark in added if mark not in same),
        removed=tuple(mark for mark in removed if mark not in same),
    )


def _marks_of(table: Path, film: FilmFile, about: About) -> set[Mark]:
    """What another program left in a table."""
    try:
        films = read_bouts(table, ManifestConfig(root=table.parent)).films
    except DataError as error:
        line = str(error).replace(str(table), table.name)
        raise DataError(f"the labels cannot be read: {line}; mend or remove the file") from None
    mine = [f for f in films if (table.parent / f.path).resolve() == film.path.resolve()]
    return {mark for labeled in mine for mark in marks_of_bouts(labeled, about)}


def _check_version(history: History, version: int) -> None:
    if version != history.version:
        raise Changed("the labels were changed elsewhere, in another tab or program; nothing of yours was applied yet")


def _last(history: History) -> list[Edit]:
    """Edits of which the last line of the history was one, or the inverse of one."""
    found = []
    if history.done:
        found.append(history.done[-1])
    if history.undone:
        found.append(history.undone[-1].inverse)
    return found


def _written(path: str, about: About, marks: set[Mark]) -> WrittenFilm:
    bouts = [Bout(label=m.label, start=float(m.start), stop=float(m.stop)) for m in sorted(marks) if m.kind == "label"]
    return WrittenFilm(path=path, duration_seconds=about.duration_seconds, fps=about.fps, bouts=bouts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _file_name(film: FilmFile) -> str:
    """The film's own name; with the id of films that lie deeper or were uploaded, of which several have one name."""
    name = film.path.name
    return f"{name}.{film.id}" if film.is_uploaded or "/" in film.name else name
