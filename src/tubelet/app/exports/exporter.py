"""The process that makes what takes longer than an answer may: a film with scores, a page, a file of the model."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tubelet.app.exports.film_page import film_page
from tubelet.app.exports.score_film import Findings, write_score_film
from tubelet.app.history import Mark
from tubelet.app.reading import Opening
from tubelet.app.runs import OfferedRun
from tubelet.app.scores import Scores, Slicing, read_scores
from tubelet.data.sources.open_source import naming_file
from tubelet.errors import DataError, TubeletError, error_line
from tubelet.export.config import ExportConfig
from tubelet.export.export import export_model
from tubelet.files import write_atomically, written_atomically
from tubelet.weights.open_checkpoint import open_checkpoint

FilmKind = Literal["overlay", "page"]
ModelKind = Literal["checkpoint", "onnx"]
PROGRESS = ".progress"  # behind the name of the file that is made: a list of what is done, and of how much
_SILENT_SECONDS = 300.0  # without progress for so long, the process is ended
_MODEL_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class FilmExport:
    """A file about a film that is scored to its end."""

    kind: FilmKind
    path: Path
    name: str
    run: OfferedRun
    scores: Path  # folder of the stored scores
    slicing: Slicing
    marks: tuple[Mark, ...]
    target: Path


@dataclass(frozen=True, kw_only=True)
class ModelExport:
    """A file of a model."""

    kind: ModelKind
    run: OfferedRun
    target: Path


Export = FilmExport | ModelExport


class Exporter:
    """Makes files; a ``RowProcessor``."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def name(self, row: Export) -> str:
        """The film or the model in messages."""
        return row.name if isinstance(row, FilmExport) else row.run.name

    def run(self, row: Export, allow: Callable[[float], None]) -> None:
        """Write the file. Raises DataError."""
        if isinstance(row, FilmExport):
            _export_film(row, self._opening, _Said(row.target, allow))
            return
        allow(_MODEL_SECONDS)
        try:
            _export_model(row)
        except DataError:
            raise
        except TubeletError as error:  # only data errors are lines of a row
            raise DataError(error_line(error)) from error


class _Said:
    """Progress, beside the file and to the watchdog."""

    def __init__(self, target: Path, allow: Callable[[float], None]) -> None:
        self._file, self._allow = target.with_name(target.name + PROGRESS), allow
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said > 0.5:
            self._said = now
            self._allow(now - self._began + _SILENT_SECONDS)
            write_atomically(self._file, json.dumps([done, total]))

    def close(self) -> None:
        self._file.unlink(missing_ok=True)


def _export_film(row: FilmExport, opening: Opening, said: _Said) -> None:
    scores = read_scores(row.scores, row.path, row.run.head)
    if scores is None:
        raise DataError(f"{row.name}: its scores are gone; look at it again")
    try:
        with naming_file(row.path, row.name), opening.open(row.path) as reader:
            if row.kind == "page":
                page = film_page(scores, row.slicing, row.marks, reader, name=row.name, model=row.run.name)
                write_atomically(row.target, page)
            else:
                findings = findings_of(scores, row.slicing, row.run, reader.duration_seconds)
                write_score_film(row.target, reader, findings, said)
    finally:
        said.close()


def findings_of(scores: Scores, slicing: Slicing, run: OfferedRun, seconds: float) -> Findings:
    """What is drawn of stored scores."""
    curves, suggestions = scores.curves(slicing), scores.suggestions(slicing)
    labels = dict.fromkeys([*run.labels, *curves.labels, *(one.label for one in suggestions)])
    return Findings(labels=list(labels), curves=curves, suggestions=suggestions, seconds=seconds)


def _export_model(row: ModelExport) -> None:
    if row.kind == "onnx":
        model, record = open_checkpoint(row.run.source)
        exported = export_model(model, record, row.target, ExportConfig())
        if len(exported.files) > 1:
            for name in exported.files:
                row.target.with_name(name).unlink()
            raise DataError("this model does not fit into one ONNX file; write it with `tubelet export`")
        return
    source = Path(row.run.source)
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    if link := next((file.name for file in files if file.is_symlink()), None):  # what it leads to is not for everybody
        raise DataError(f"{link} of this model is a link, so that the archive would lack it; copy the checkpoint first")
    with written_atomically(row.target) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
        for file in files:  # of the folder itself: a checkpoint has none below it
            if file.is_file():
                archive.write(file, f"{row.run.name}/{file.name}")
