"""What the endpoints share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import AppConfig
from tubelet.app.labels import LabelStore
from tubelet.app.library import Library, NotThere
from tubelet.app.runs import OfferedRun, offered_runs
from tubelet.app.uploads import Uploads
from tubelet.app.workroom import Workroom
from tubelet.errors import error_line


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything that the page works with."""

    config: AppConfig
    library: Library
    labels: LabelStore
    uploads: Uploads
    room: Workroom
    runs: list[OfferedRun]

    @classmethod
    def of(cls, config: AppConfig) -> Desk:
        """Made for what is to be served. Raises CheckpointError for a run that cannot be used."""
        uploaded = config.labels / "uploads"
        return cls(
            config=config,
            library=Library(config.films, uploaded),
            labels=LabelStore(config.labels, config.cache / "history"),
            uploads=Uploads(uploaded, config.cache / "uploading"),
            room=Workroom(config),
            runs=offered_runs(config.runs),
        )

    def close(self) -> None:
        """End all processes, and remove uploads that are not whole."""
        self.room.close()
        self.uploads.close()

    def run(self, run_id: str) -> OfferedRun:
        """The run of an id. Raises NotThere."""
        found = next((run for run in self.runs if run.id == run_id), None)
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
