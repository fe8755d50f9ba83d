"""Labels of films as plain tables, saved after every edit.

``<film>.csv`` in the labels folder has a row per stretch (``tubelet.data.layouts.bouts.table``); training reads the
folder as it is; a film without labels has no table. The history beside it, in a hidden folder, is written first, and
says once the table is there too: whichever of these a kill cuts off, the next read completes. Any other difference is
of another program and counts as an edit of its own. Several servers may share the folder: one of them edits at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import MAX_MARKS
from tubelet.app.history import Edit, History, Mark, Step, without_overlaps
from tubelet.app.hold import held
from tubelet.app.label_table import clock_of, table_content, table_marks, written_film
from tubelet.app.library import FilmFile
from tubelet.app.reading import About
from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.write import WrittenFilm
from tubelet.errors import DataError
from tubelet.files import write_atomically

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
        history = History.read(self._history_file(film))
        if history.is_saved and _digest(self._there(film)) == history.digest:
            return history
        with self._hold():
            return self._read(film, about)

    def edit(self, film: FilmFile, about: About, version: int, asked: Asked) -> History:
        """Carry out an edit of the labels of that version.

        Raises:
            Changed: they have another version by now; nothing is changed.
            DataError: a stretch that is none.
        """
        with self._hold():
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
        with self._hold():
            history = self._read(film, about)
            _check_version(history, version)
            if not history.done:
                raise DataError("there is nothing to undo")
            self._write(film, about, history, "undo", history.done[-1].inverse)
            return history

    def redo(self, film: FilmFile, about: About, version: int) -> History:
        """Do the last edit that was undone again. Raises as ``edit``."""
        with self._hold():
            history = self._read(film, about)
            _check_version(history, version)
            if not history.undone:
                raise DataError("there is nothing to do again")
            self._write(film, about, history, "redo", history.undone[-1])
            return history

    def written(self, film: FilmFile, about: About) -> WrittenFilm:
        """A film for export."""
        return written_film(str(film.path.resolve()), about, self.read(film, about).marks)

    def is_labeled(self, film: FilmFile) -> bool:
        """Whether the film has a table."""
        return self.table(film).is_file()

    def table(self, film: FilmFile) -> Path:
        """Where the labels of a film are."""
        return self.folder / f"{_file_name(film)}.csv"

    @contextmanager
    def _hold(self) -> Iterator[None]:
        with self._lock, held(self._history_folder):
            yield

    def _history_file(self, film: FilmFile) -> Path:
        return self._history_folder / f"{_file_name(film)}.jsonl"

    def _there(self, film: FilmFile) -> bytes:
        """The table; nothing where there is none."""
        try:
            return self.table(film).read_bytes()
        except FileNotFoundError:
            return b""

    def _read(self, film: FilmFile, about: About) -> History:
        history, there = History.read(self._history_file(film)), self._there(film)
        if _digest(there) != history.digest:
            if not history.is_saved and _digest(there) == history.before:  # a kill came between history and table
                self._put(film, table_content(film, about, self.folder, history.marks))
            else:
                marks = table_marks(self.table(film), film, about) if there else set[Mark]()
                kept = {mark for mark in history.marks if mark.kind == "rejected"}
                edit = Edit(
                    what="changes by another program",
                    added=tuple(sorted(marks - history.marks)),
                    removed=tuple(sorted(history.marks - marks - kept)),
                )
                history.append("edit", edit, _digest(there))
        history.mark_saved()
        return history

    def _write(self, film: FilmFile, about: About, history: History, step: Step, edit: Edit) -> None:
        content = table_content(film, about, self.folder, history.after(edit))
        history.append(step, edit, _digest(content))
        self._put(film, content)
        history.mark_saved()

    def _put(self, film: FilmFile, content: bytes) -> None:
        if content:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.table(film), content)
        else:
            self.table(film).unlink(missing_ok=True)


def check_label(label: str) -> str:
    """The name of a class without spaces around it. Raises DataError for what is none."""
    if not label.strip() or len(label) > _LONGEST_LABEL or not label.isprintable():
        raise DataError(f"a label has 1 to {_LONGEST_LABEL} printable letters")
    return label.strip()


def _edit(history: History, asked: Asked, about: About) -> Edit:
    clock, removed, added = clock_of(about), list[Mark](), list[Mark]()
    for mark in asked.remove:
        if mark in history.marks:
            removed.append(mark)
    left = set(history.marks) - set(removed)
    for mark in asked.add:
        if not 0 <= mark.start < mark.stop:
            raise DataError(f"a stretch ends behind its start, got {mark.start:g} to {mark.stop:g} s")
        bout = Bout(label=check_label(mark.label), start=float(mark.start), stop=float(mark.stop), where="the page")
        start, stop = clock.span(bout)
        new = Mark(start=round(start, 6), stop=round(stop, 6), label=bout.label, kind=mark.kind, cells=mark.cells)
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


def _check_version(history: History, version: int) -> None:
    if version != history.version:
        raise Changed("the labels were changed elsewhere, in another tab or program; nothing of yours was applied yet")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32] if content else ""


def _file_name(film: FilmFile) -> str:
    """The film's own name; with the id of films that lie deeper or were uploaded, of which several have one name."""
    name = film.path.name
    return f"{name}.{film.id}" if film.is_uploaded or "/" in film.name else name
