"""Where films are read, scored and transcoded: in processes, so that none of it can take the server down.

A film that makes a decoder crash or hang costs its process, and gives a line; the next film gets a new process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch

from tubelet.app.config import MAX_PROXY_BYTES, AppConfig
from tubelet.app.exports.kept_files import make_room, touch
from tubelet.app.library import FilmFile
from tubelet.app.reading import About, FilmReader, Opening, StillRequest
from tubelet.app.runs import OfferedRun
from tubelet.app.scores import Scores, read_scores
from tubelet.app.scoring import ASIDE, DONE, ExplainRequest, FilmScorer, LoadRequest, Request, ScoreRequest
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.data.loading.worker_process import Failure
from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode_pool import SourceFile, VideoTranscoder
from tubelet.errors import DataError, TubeletError, error_line
from tubelet.inference.films import Windows

PROXY = Encoding(
    short_side=540, crf=23, preset="veryfast", b_frames=0
)  # what browsers get of films that they cannot play
_READERS = 2  # processes
_READ_SECONDS, _SCORE_SECONDS, _PROXY_SECONDS = 60.0, 600.0, 120.0  # time limits, which progress moves
_KEPT_ABOUTS = 256
_UNWATCHED_SECONDS = 3.0  # a page asks more than twice a second

State = Literal["waiting", "working", "done", "failed"]


@dataclass
class Job:
    """Work on one film that goes on."""

    future: Future[Any]
    asked: float = field(default_factory=time.monotonic)
    watched: float = field(default_factory=time.monotonic)  # when somebody last looked
    first: tuple[float, float] | None = None  # when the first scores were seen, and how many seconds they covered

    @property
    def state(self) -> State:
        """What it is doing."""
        if not self.future.done():
            return "working" if self.future.running() else "waiting"
        return "failed" if self.error is not None else "done"

    @property
    def error(self) -> str | None:
        """The line of a failure."""
        if not self.future.done() or self.future.cancelled():
            return None
        error = self.future.exception()
        if error is None:
            result = self.future.result()
            return result.line if isinstance(result, Failure) else None
        if isinstance(error, TubeletError):
            return error_line(error)
        print(f"tubelet app: {error}", file=sys.stderr)
        return "this failed unexpectedly; the terminal says why"


class Workroom:
    """Gives films to processes and finds what they have written."""

    def __init__(self, config: AppConfig, opening: Opening) -> None:
        threads = torch.get_num_threads()  # as many as the command line has: another number rounds differently
        windows = Windows(
            window=config.window_seconds or "clip", hop_seconds=config.hop_seconds, frame_fps=config.frame_fps
        )
        scorer = FilmScorer(windows, config.device, threads)
        self._frame_fps = config.frame_fps
        self._cache, self._windows = config.cache, f"{config.window_seconds}-{config.hop_seconds}"
        self._reading: WorkerPool[StillRequest, About | bytes] = WorkerPool(
            FilmReader(opening), _READERS, _READ_SECONDS
        )
        self._scoring: WorkerPool[Request, bytes | None] = WorkerPool(scorer, 1, _SCORE_SECONDS)
        self._explaining: WorkerPool[Request, bytes | None] = WorkerPool(scorer, 1, _SCORE_SECONDS)
        self._proxies: WorkerPool[SourceFile, dict[str, Any]] = WorkerPool(
            VideoTranscoder(PROXY, _PROXY_SECONDS), 1, _PROXY_SECONDS
        )
        self._abouts: OrderedDict[str, About] = OrderedDict()
        self._finished: OrderedDict[Path, Scores] = OrderedDict()
        self._jobs: dict[Path, Job] = {}
        self._lock = threading.Lock()

    def warm_up(self, runs: list[OfferedRun]) -> None:
        """Start what the first look needs, and load the models."""
        self._reading.submit(StillRequest(Path()))
        for run in runs:
            self._scoring.submit(LoadRequest(Path(run.name), run.source))

    def close(self) -> None:
        """End all processes."""
        for pool in (self._reading, self._scoring, self._explaining, self._proxies):
            pool.close()

    def about(self, film: FilmFile) -> About:
        """What is known of a film. Raises DataError."""
        return self.about_file(film.path, film.key)

    def about_file(self, path: Path, key: str) -> About:
        """What is known of a file; ``key`` changes with its content."""
        with self._lock:
            if key in self._abouts:
                self._abouts.move_to_end(key)
                return self._abouts[key]
        about = cast(About, _result(self._reading.submit(StillRequest(path))))
        with self._lock:
            self._abouts[key] = about
            while len(self._abouts) > _KEPT_ABOUTS:
                self._abouts.popitem(last=False)
        return about

    def still(self, film: FilmFile, frame: int) -> bytes:
        """A frame as JPEG. Raises DataError."""
        return cast(bytes, _result(self._reading.submit(StillRequest(film.path, frame))))

    def explanation(self, request: ExplainRequest) -> bytes:
        """Where a model looked, as PNG or MP4. Raises DataError."""
        return cast(bytes, _result(self._explaining.submit(request)))

    def look(self, film: FilmFile, run: OfferedRun) -> tuple[Job | None, Scores | None]:
        """What is known of a film with a model so far. Begins the work where nobody has.

        A film is scored once: what lies on the disk is never computed again. None in place of a job means that it was
        done before.
        """
        folder = self.scores_folder(film, run)
        with self._lock:
            if folder in self._finished:
                self._finished.move_to_end(folder)
                return None, self._finished[folder]
            job = self._jobs.get(folder)
            if job is not None and (folder / ASIDE).exists() and job.future.done():
                job = None
            if job is None and not (folder / DONE).is_file():
                self._set_others_aside()
                request = ScoreRequest(film.path, run.source, folder, self._cache / "features")
                job = self._jobs[folder] = Job(cast("Future[Any]", self._scoring.submit(request)))
        if job is not None:
            job.watched = time.monotonic()
            if job.state in ("waiting", "failed"):
                return job, None
        scores = read_scores(folder, film.path, run.head)
        if job is not None and scores is not None and job.first is None:
            job.first = time.monotonic(), scores.known_seconds
        if scores is not None and scores.is_done:
            with self._lock:
                self._finished[folder] = scores
                self._jobs.pop(folder, None)
                while len(self._finished) > _READERS * 4:
                    self._finished.popitem(last=False)
        return job, scores

    def known(self, film: FilmFile, run: OfferedRun) -> Scores | None:
        """What is stored of a film with a model; begins no work."""
        folder = self.scores_folder(film, run)
        with self._lock:
            if folder in self._finished:
                return self._finished[folder]
        return read_scores(folder, film.path, run.head)

    def try_again(self, film: FilmFile, run: OfferedRun) -> None:
        """Forget that a film failed."""
        folder = self.scores_folder(film, run)
        with self._lock:
            if folder in self._jobs and self._jobs[folder].state == "failed":
                del self._jobs[folder]

    def playable(self, film: FilmFile) -> tuple[State, Path | None, str | None]:
        """The file that a browser can play: the film itself, or a copy that is made now. And why there is none."""
        if self.about(film).plays:
            return "done", film.path, None
        if not film.is_video:
            return "failed", None, "this is no video file; its pictures can be stepped through"
        target = self._cache / "proxies" / f"{film.key}.mp4"
        if target.is_file():
            touch(target)
            growing_copy(target).unlink(missing_ok=True)
            return "done", target, None
        with self._lock:
            job = self._jobs.get(target)
            if job is not None and job.state == "failed":
                growing_copy(target).unlink(missing_ok=True)
            if job is None or (job.state == "done" and not target.is_file()):  # removed to make room
                make_room(target.parent, film.size_bytes, MAX_PROXY_BYTES, "a copy that browsers can play")
                file = SourceFile(source=film.path, target=target, mark="", growing=growing_copy(target))
                job = self._jobs[target] = Job(cast("Future[Any]", self._proxies.submit(file)))
        return job.state, target if job.state == "done" else None, job.error

    def growing(self, film: FilmFile) -> tuple[Job, Path] | None:
        """The copy that is made now, and the file that grows meanwhile; None where none is made or nothing is there."""
        target = self._cache / "proxies" / f"{film.key}.mp4"
        with self._lock:
            job = self._jobs.get(target)
        path = growing_copy(target)
        return (job, path) if job is not None and job.state == "working" and path.is_file() else None

    def _set_others_aside(self) -> None:
        """Films that nobody looks at any more make room: they begin again when somebody does."""
        for folder, job in list(self._jobs.items()):
            if folder.parent != self._cache / "scores" or time.monotonic() - job.watched < _UNWATCHED_SECONDS:
                continue
            if job.future.cancel():
                del self._jobs[folder]
            elif job.state == "working" and folder.is_dir():
                (folder / ASIDE).touch()

    def scores_folder(self, film: FilmFile, run: OfferedRun) -> Path:
        """Where the scores of a film with a model are stored."""
        fps = f"-{self._frame_fps}" if film.path.is_dir() else ""
        return self._cache / "scores" / f"{film.key}-{run.key}-{self._windows}{fps}"


def growing_copy(target: Path) -> Path:
    """What grows while a copy is made."""
    return target.with_name(f"{target.name}.growing")


def _result(future: Future[Any]) -> object:
    """The result of a process. Raises DataError with the line of a failure."""
    result = future.result()
    if isinstance(result, Failure):
        raise DataError(result.line)
    return result
