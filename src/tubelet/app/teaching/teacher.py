"""Starts trainings, one at a time, stops them and lets them go on. What it knows lies on the disk."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tubelet.app.config import AppConfig
from tubelet.app.hold import held
from tubelet.app.runs import OfferedRun, offered_run
from tubelet.app.teaching.job import (
    DATA,
    JOB,
    STOP,
    How,
    Job,
    JobProgress,
    Kind,
    is_alive,
    read_job,
    read_progress,
    write_job,
    write_progress,
)
from tubelet.errors import CheckpointError, DataError
from tubelet.files import write_atomically
from tubelet.session.folder_lock import FolderLock
from tubelet.weights.init.lite0 import LITE0, has_lite0

_STARTING = "starting"  # folder in that of a training, held by the server that starts it
_LOOK_SECONDS = 0.1
_END_SECONDS = 8.0  # that a training has to save itself when the server ends


class Teacher:
    """The trainings of a labels folder. Several servers may share it: one training goes on in all of them."""

    def __init__(self, config: AppConfig) -> None:
        self._config, self._folder, self._runs = config, config.cache / "teaching", config.labels / "runs"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._offered: dict[tuple[str, float], OfferedRun] = {}

    def encoders(self, runs: list[OfferedRun]) -> dict[str, str]:
        """What trainings can begin with: how the page calls it, and what ``--init`` takes.

        Runs that label frames come first: the features that they see are stored when films are looked at. Of what was
        taught only those have another encoder of which every weight learned.
        """
        runs = [*runs, *(run for run in self.taught() if run.name.endswith("-full"))]
        names = [run.name for run in runs]
        named = {run.name if names.count(run.name) == 1 else f"{run.name} ({run.id})": run for run in runs}
        of_frames = {name: run.source for name, run in named.items() if run.head is not None}
        found = of_frames | ({"lite0 (ImageNet)": LITE0} if has_lite0() else {})
        return found | {name: run.source for name, run in named.items()}

    def begin(self, kind: Kind, how: How, encoder: str, data: bytes) -> str:
        """Begin a training on a table of labels, and return its name.

        Raises:
            DataError: one goes on.
        """
        with self._lock, held(self._folder):
            self._check_none()
            name = f"{self._free_number()}-{kind}-{how}"
            job = Job(
                name=name,
                kind=kind,
                how=how,
                encoder=encoder,
                out=str(self._runs / name),
                features=str(self._config.cache / "features"),
                device=self._config.device,
            )
            folder = self._folder / name
            folder.mkdir()
            write_atomically(folder / DATA, data)
            write_job(folder, job)
            self._start(folder)
        return name

    def go_on(self) -> None:
        """Let the last training go on where it stopped. Raises DataError where there is none, or one goes on."""
        with self._lock, held(self._folder):
            self._check_none()
            folder = self._last()
            if folder is None or read_progress(folder).state == "done":
                raise DataError("there is no training that could go on")
            progress = read_progress(folder)
            progress.state, progress.error = "working", ""
            write_progress(folder, progress)
            self._start(folder)

    def stop(self) -> None:
        """Ask the training to stop; it saves itself and can go on."""
        folder = self._last()
        if folder is not None and self._works(folder):
            (folder / STOP).touch()

    def state(self) -> tuple[Job, JobProgress] | None:
        """The last training. None means that there was none."""
        folder = self._last()
        if folder is None:
            return None
        progress = read_progress(folder)
        if progress.state == "stopped" and self._works(folder):  # its process has begun, and does not hold it yet
            progress.state = "working"
        return read_job(folder), progress

    def taught(self) -> list[OfferedRun]:
        """The models that trainings have made, the last one first."""
        found = []
        for folder in reversed(self._all()):
            try:
                if read_progress(folder).state == "done":
                    found.append(self._offered_run(folder.name))
            except (CheckpointError, OSError):  # removed by hand
                continue
        return found

    def close(self) -> None:
        """Stop the training that this server started; the next one lets it go on."""
        process = self._process
        if process is not None and process.poll() is None:
            self.stop()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()

    def _offered_run(self, name: str) -> OfferedRun:
        folder = self._runs / name
        key = (name, (folder / "best").stat().st_mtime)
        if key not in self._offered:
            self._offered[key] = offered_run(f"t{name.split('-')[0]}", str(folder))
        return self._offered[key]

    def _all(self) -> list[Path]:
        jobs = (path.parent for path in self._folder.glob(f"*/{JOB}") if path.parent.name.split("-")[0].isdigit())
        return sorted(jobs, key=lambda folder: int(folder.name.split("-")[0]))

    def _free_number(self) -> int:
        """One that neither a training nor a run has, also where the other of the two was removed by hand."""
        places = (path for folder in (self._folder, self._runs) if folder.is_dir() for path in folder.iterdir())
        numbers = (path.name.split("-")[0] for path in places)
        return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _last(self) -> Path | None:
        return next(iter(reversed(self._all())), None)

    def _works(self, folder: Path) -> bool:
        """Whether a process works on it, or has just been started for it, here or by another server."""
        is_started = self._process is not None and self._process.poll() is None
        return is_alive(folder) or is_started or is_alive(folder / _STARTING)

    def _check_none(self) -> None:
        folder = self._last()
        if folder is not None and self._works(folder):
            raise DataError("a training goes on; wait for it, or stop it")

    def _start(self, folder: Path) -> None:
        (folder / STOP).unlink(missing_ok=True)
        (folder / _STARTING).mkdir(exist_ok=True)
        starting = FolderLock(folder / _STARTING)
        starting.acquire()
        command = [sys.executable, "-m", "tubelet.app.teaching.work", str(folder)]
        try:
            with (folder / "log.txt").open("ab") as log:  # a group of its own: Ctrl-C is for the server, which stops it
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError:
            starting.release()
            raise
        threading.Thread(target=_let_go, args=(starting, folder, self._process), daemon=True).start()


def _let_go(starting: FolderLock, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Hold the place of a process that has begun until it holds its folder itself, which takes it seconds, or ends."""
    while process.poll() is None and not is_alive(folder):
        time.sleep(_LOOK_SECONDS)
    starting.release()
