"""Files that are being made, and those that are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tubelet.app.config import MAX_EXPORT_BYTES, MAX_OPEN_EXPORTS
from tubelet.app.exports.exporter import PROGRESS, Export, Exporter, FilmExport, FilmKind, ModelExport, ModelKind
from tubelet.app.exports.kept_files import make_room, touch
from tubelet.app.history import Mark
from tubelet.app.library import FilmFile, NotThere
from tubelet.app.reading import Opening
from tubelet.app.runs import OfferedRun
from tubelet.app.scores import Slicing, finished
from tubelet.app.workroom import Job, Workroom
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.errors import DataError

_SECONDS = 300.0  # time limit, which progress moves
_SUFFIXES = {"overlay": ".mp4", "page": ".html", "checkpoint": ".zip", "onnx": ".onnx"}
_NUMBERS = 512  # files whose names are remembered


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file that is made, or will be."""

    id: str
    path: Path
    stem: str  # of its name for people
    job: Job | None  # None: it was there before

    @property
    def state(self) -> dict[str, Any]:
        """What a page is told."""
        if self.job is None:
            return {"id": self.id, "state": "done"}
        shown: dict[str, Any] = {"id": self.id, "state": self.job.state, "error": self.job.error}
        try:
            done, total = json.loads(self.path.with_name(self.path.name + PROGRESS).read_text())
        except (OSError, ValueError):
            return shown
        return shown | {"done": done, "total": total}


class ExportRoom:
    """Makes files in a process of its own, one at a time."""

    def __init__(self, folder: Path, room: Workroom, opening: Opening) -> None:
        self._folder, self._room = folder, room
        self._pool: WorkerPool[Export, None] = WorkerPool(Exporter(opening), 1, _SECONDS)
        self._made: dict[str, Made] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the process."""
        self._pool.close()

    def of_film(
        self, film: FilmFile, run: OfferedRun, slicing: Slicing, marks: tuple[Mark, ...], kind: FilmKind
    ) -> Made:
        """Begin a file about a film. Raises DataError where it is not scored to its end."""
        finished(self._room.known(film, run))
        shown = [dataclasses.asdict(mark) for mark in marks] if kind == "page" else []
        folder = self._room.scores_folder(film, run)
        target = self._target(kind, json.dumps([folder.name, film.name, run.name, dataclasses.asdict(slicing), shown]))
        export = FilmExport(
            kind=kind,
            path=film.path,
            name=film.name,
            run=run,
            scores=folder,
            slicing=slicing,
            marks=marks,
            target=target,
        )
        return self._begin(export, Path(film.name).stem, film.size_bytes)

    def of_model(self, run: OfferedRun, kind: ModelKind) -> Made:
        """Begin a file of a model. Raises DataError where there is none to make."""
        source = Path(run.source)
        if kind == "checkpoint" and not source.exists():
            raise DataError("this model comes from the network; only models of a folder can be taken away")
        if kind == "onnx" and run.head is not None:
            raise DataError("a model that labels frames is not exported yet; take its checkpoint")
        files = (list(source.iterdir()) if source.is_dir() else [source]) if source.exists() else []
        target = self._target(kind, f"{run.key} {run.name}")
        return self._begin(
            ModelExport(kind=kind, run=run, target=target), run.name, sum(file.stat().st_size for file in files)
        )

    def get(self, made_id: str) -> Made:
        """A file that was begun. Raises NotThere."""
        with self._lock:
            if made_id not in self._made:
                raise NotThere("there is no such file; ask for it again")
            return self._made[made_id]

    def _target(self, kind: str, what: str) -> Path:
        digest = hashlib.sha256(what.encode(errors="surrogateescape")).hexdigest()[:24]
        return self._folder / f"{digest}-{kind}{_SUFFIXES[kind]}"

    def _begin(self, export: Export, stem: str, size_bytes: int) -> Made:
        target = export.target
        with self._lock:
            known = self._made.get(target.stem)
            if target.is_file():
                touch(target)
                made = known or Made(id=target.stem, path=target, stem=stem, job=None)
            elif known is not None and known.job is not None and known.job.state in ("waiting", "working"):
                return known
            else:
                open_jobs = [m for m in self._made.values() if m.job is not None and not m.job.future.done()]
                if len(open_jobs) >= MAX_OPEN_EXPORTS:
                    raise DataError(f"{MAX_OPEN_EXPORTS} files are being made; wait for one of them")
                make_room(self._folder, size_bytes, MAX_EXPORT_BYTES, "this file")
                job = Job(cast("Future[Any]", self._pool.submit(export)))
                made = Made(id=target.stem, path=target, stem=stem, job=job)
            self._made.pop(target.stem, None)
            self._made[target.stem] = made
            self._forget()
            return made

    def _forget(self) -> None:
        for made_id, made in list(self._made.items())[: max(0, len(self._made) - _NUMBERS)]:
            if made.job is None or made.job.future.done():
                del self._made[made_id]
