"""What a person teaches: names of classes, and the class of clips that were sorted. Plain files in the labels folder.

.tubelet/classes.json   names in the order of their keys
sorted/clips.csv        path, label: what ``tubelet probe --data`` and ``tubelet train --data`` read
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tubelet.app.hold import held
from tubelet.app.label_table import relative_path
from tubelet.app.labels import check_label
from tubelet.app.library import FilmFile, Library
from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED, TO_LABEL
from tubelet.data.layouts.bouts.cells import read_cell, written_cell
from tubelet.errors import DataError
from tubelet.files import write_atomically

MOST_CLASSES = 50


class Lessons:
    """Classes and sorted clips."""

    def __init__(self, labels: Path, cache: Path, library: Library) -> None:
        self._cache, self._library = cache, library
        self._classes, self.folder = cache / "classes.json", labels / "sorted"

    @property
    def table(self) -> Path:
        """The clips that are sorted."""
        return self.folder / "clips.csv"

    def classes(self) -> list[str]:
        """Names in the order of their keys."""
        if not self._classes.is_file():
            return []
        return [str(name) for name in json.loads(self._classes.read_text(encoding="utf-8"))]

    def set_classes(self, names: Sequence[str]) -> list[str]:
        """Name the classes. Raises DataError for a name that is none, or comes twice."""
        clean = [check_class(name) for name in names]
        if len(set(clean)) < len(clean):
            raise DataError("two classes have the same name")
        if len(clean) > MOST_CLASSES:
            raise DataError(f"at most {MOST_CLASSES} classes")
        self._cache.mkdir(parents=True, exist_ok=True)
        write_atomically(self._classes, json.dumps(clean, ensure_ascii=False) + "\n")
        return clean

    def sorted_clips(self) -> dict[str, str]:
        """The class of each sorted clip, by the id of the film. Raises DataError for a table that cannot be read."""
        rows = self._rows()
        if not rows:
            return {}
        known = {path: film.id for path, film in self._library.by_path().items()}
        found = ((known.get((self.folder / path).resolve()), label) for path, label in rows.items())
        return {film: label for film, label in found if film is not None}

    def sort(self, film: FilmFile, label: str | None) -> None:
        """Give a clip a class; None takes it out. Raises DataError."""
        clean = None if label is None else check_class(label)
        with held(self.folder):
            rows = self._rows()
            mine = [path for path in rows if (self.folder / path).resolve() == film.path.resolve()]
            for path in mine:
                del rows[path]
            if clean is not None:
                rows[relative_path(film, self.folder)] = clean
            if rows:
                write_atomically(self.table, clips_csv({path: written_cell(name) for path, name in rows.items()}))
            else:
                self.table.unlink(missing_ok=True)

    def _rows(self) -> dict[str, str]:
        if not self.table.is_file():
            return {}
        with self.table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise DataError("sorted/clips.csv has no columns path and label; mend or remove the file")
            return {row["path"]: read_cell(row["label"] or "") for row in reader if row["path"] and row["label"]}


def check_class(name: str) -> str:
    """The name of a class to teach without spaces around it. Raises DataError for one that cannot be taught."""
    clean = check_label(name)
    if clean in (BACKGROUND, IGNORED, TO_LABEL):
        raise DataError(
            f"'{clean}' is no class: it says that a stretch shows none, or is not labeled; take another name"
        )
    return clean


def clips_csv(rows: Mapping[str, str]) -> bytes:
    """A table of clips by path, with their class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label"])
    writer.writerows(rows.items())
    return text.getvalue().encode(errors="surrogateescape")
