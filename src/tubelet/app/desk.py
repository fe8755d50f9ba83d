"""What the endpoints share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import AppConfig
from tubelet.app.exports.room import ExportRoom
from tubelet.app.labels import LabelStore
from tubelet.app.library import FilmFile, Library, NotThere
from tubelet.app.reading import Opening
from tubelet.app.runs import OfferedRun, offered_runs
from tubelet.app.teaching.lessons import Lessons
from tubelet.app.teaching.teacher import Teacher
from tubelet.app.uploads import Uploads
from tubelet.app.workroom import Workroom
from tubelet.data.layouts.bouts.write import WrittenFilm
from tubelet.errors import DataError, error_line


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything that the page works with."""

    config: AppConfig
    library: Library
    labels: LabelStore
    uploads: Uploads
    room: Workroom
    exports: ExportRoom
    lessons: Lessons
    teacher: Teacher
    runs: list[OfferedRun]  # that the server was started with

    @classmethod
    def of(cls, config: AppConfig) -> Desk:
        """Made for what is to be served. Raises CheckpointError for a run that cannot be used."""
        uploaded, runs = config.labels / "uploads", offered_runs(config.runs)
        opening = Opening.of(config.frame_fps, [run.protocol for run in runs])
        library, room = Library(config.films, uploaded), Workroom(config, opening)
        return cls(
            config=config,
            library=library,
            labels=LabelStore(config.labels, config.cache / "history"),
            uploads=Uploads(uploaded, config.cache / "uploading"),
            room=room,
            exports=ExportRoom(config.cache / "exports", room, opening),
            lessons=Lessons(config.labels, config.cache, library),
            teacher=Teacher(config),
            runs=runs,
        )

    def close(self) -> None:
        """End all processes, let a training save itself, and remove uploads that are not whole."""
        self.teacher.close()
        self.room.close()
        self.exports.close()
        self.uploads.close()

    def all_runs(self) -> list[OfferedRun]:
        """The runs that the server was started with, and those that were taught."""
        return [*self.runs, *self.teacher.taught()]

    def written(self, films: list[FilmFile], *, has_empty: bool = False) -> tuple[dict[str, WrittenFilm], list[str]]:
        """Films that have labels, by name, and a line for each whose labels or frames cannot be read.

        Args:
            has_empty: also those without any label.
        """
        written, left_out = dict[str, WrittenFilm](), list[str]()
        for film in films:
            try:
                found = self.labels.written(film, self.room.about(film))
            except DataError as error:
                left_out.append(f"{film.name}: {self.shown(error)}")
                continue
            if found.bouts or has_empty:
                name = film.name if film.name not in written else f"{film.name} ({film.id})"  # an upload may share it
                written[name] = found
        return written, left_out

    def run(self, run_id: str) -> OfferedRun:
        """The run of an id. Raises NotThere."""
        found = next((run for run in self.runs if run.id == run_id), None)
        found = found or next((run for run in self.teacher.taught() if run.id == run_id), None)
        if found is None:
            raise NotThere("there is no such model; load the page again")
        return found

    def shown(self, error: BaseException) -> str:
        """A message without the folders of this machine."""
        line = error_line(error)
        for folder in (self.config.cache, self.config.labels, self.config.films):
            if folder is not None:
                for text in (str(folder.resolve()), str(folder)):
                    line = line.replace(f"{text}/", "") if len(text) > 1 else line
        return line.replace(f"{Path.home()}/", "")
