"""The process that has the models: it scores films and writes what it knows at once, part by part, into a folder.

    windows  film.json once, then a line of parts.jsonl per window
    steps    clock.npz once, then rows of float32 behind each other in probs.f32
    both     done.json when the film is over

A folder without done.json is of a film in progress, or of one that was interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tubelet.app.config import STORED_LABELS
from tubelet.data.sources.open_source import naming_file
from tubelet.errors import DataError
from tubelet.files import appended_lines, write_atomically, written_atomically
from tubelet.inference.films import Film, Span, Windows, predict_film
from tubelet.inference.moments.film import MomentsModel, load_moments, moments_folder
from tubelet.inference.moments.head_file import has_head
from tubelet.inference.predictor import Classifier, load
from tubelet.report.relevance.pictures import explanation_sheet
from tubelet.report.relevance.scale import scale_over
from tubelet.session.fast_fp32 import use_fast_fp32
from tubelet.session.progress import NoProgress
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import Device, Segment

ASIDE = "aside"  # while this file is in the folder, the film makes room for another
FILM, PARTS, CLOCK, PROBS, DONE = "film.json", "parts.jsonl", "clock.npz", "probs.f32", "done.json"
FALLBACK_WINDOW_SECONDS = 4.0  # of a model that spreads its frames over a whole clip, where none is asked for
_SILENT_SECONDS = 300.0  # without progress for so long, the process is ended
_LOAD_SECONDS = 600.0


@dataclass(frozen=True)
class ScoreRequest:
    """A film to score with a run, into a folder."""

    path: Path
    run: str
    folder: Path


@dataclass(frozen=True)
class ExplainRequest:
    """Where a model looked in a stretch of a film."""

    path: Path
    run: str
    label: str | None
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class LoadRequest:
    """A run whose weights are to be loaded before the first film comes."""

    path: Path  # named in messages
    run: str


Request = ScoreRequest | ExplainRequest | LoadRequest


class _Alive(NoProgress):
    """Gives the film more time whenever there is progress."""

    def __init__(self, allow: Callable[[float], None]) -> None:
        self._allow, self._began, self._said = allow, time.monotonic(), 0.0

    def __call__(self) -> None:
        now = time.monotonic() - self._began
        if now - self._said > 5:
            self._said = now
            self._allow(now + _SILENT_SECONDS)

    def advance(self, done: int, total: int, text: str = "") -> None:
        self()


class FilmScorer:
    """Scores films, and explains; a ``RowProcessor``. Models stay loaded in its process."""

    def __init__(self, window_seconds: float | None, hop_seconds: float | None, device: Device, threads: int) -> None:
        self._window, self._hop, self._device, self._threads = window_seconds, hop_seconds, device, threads
        self._models: dict[str, Classifier | MomentsModel] = {}

    def name(self, row: Request) -> str:
        """The film in messages."""
        return row.path.name

    def run(self, row: Request, allow: Callable[[float], None]) -> bytes | None:
        """Score into the folder, or return a picture. Raises DataError."""
        torch.set_num_threads(self._threads)
        use_fast_fp32()  # as the command line
        allow(_LOAD_SECONDS)
        model, alive = self._model(row.run), _Alive(allow)
        if isinstance(row, LoadRequest):
            return None
        with naming_file(row.path, row.path.name):
            if isinstance(row, ExplainRequest):
                return self._explain(row)
            shutil.rmtree(row.folder, ignore_errors=True)
            row.folder.mkdir(parents=True)
            if isinstance(model, MomentsModel):
                _score_steps(model, row, alive)
            else:
                _score_windows(model, row, windows_of(model, self._window, self._hop), alive)
        return None

    def _model(self, run: str) -> Classifier | MomentsModel:
        if run not in self._models:
            per_frame = has_head(moments_folder(Path(run)))
            self._models[run] = load_moments(run, self._device) if per_frame else load(run, self._device)
        return self._models[run]

    def _explain(self, row: ExplainRequest) -> bytes:
        model = self._model(row.run)
        classifier = load(moments_folder(Path(row.run)), self._device) if isinstance(model, MomentsModel) else model
        found = classifier.explain(
            str(row.path),
            class_name=row.label,
            reading={"start_seconds": row.start_seconds, "end_seconds": row.end_seconds},
        )
        return explanation_sheet(dataclasses.replace(found, source=row.path.name), scale_over([found]))


def windows_of(model: Classifier, window_seconds: float | None, hop_seconds: float | None) -> Windows:
    """How windows lie on films for a model."""
    model.check_classes()
    if window_seconds is None and model.protocol.sampling != "dense":
        window_seconds = FALLBACK_WINDOW_SECONDS
    window: Span = "clip" if window_seconds is None else window_seconds
    return Windows(window=window, hop_seconds=hop_seconds, top_k=min(STORED_LABELS, len(model.labels)))


def _score_windows(model: Classifier, row: ScoreRequest, windows: Windows, alive: _Alive) -> None:
    with appended_lines(row.folder / PARTS) as write:

        def on_segment(film: Film, segment: Segment) -> None:
            if not (row.folder / FILM).exists():
                content = {
                    "duration_seconds": film.duration_seconds,
                    "fps": film.fps,
                    "plan": dataclasses.asdict(film.plan),
                }
                write_atomically(row.folder / FILM, json.dumps(content))
            write(dataclasses.asdict(segment))
            _check_aside(row.folder)
            alive()

        film = predict_film(model, row.path, windows, alive, on_segment)
    write_atomically(row.folder / DONE, json.dumps({"notes": film.notes}))


def _score_steps(model: MomentsModel, row: ScoreRequest, alive: _Alive) -> None:
    with (row.folder / PROBS).open("ab", buffering=0) as stream:

        def on_part(clock: FilmClock, probs: Float[np.ndarray, "m K"]) -> None:
            if not (row.folder / CLOCK).exists():
                _write_clock(row.folder / CLOCK, clock)
            stream.write(np.ascontiguousarray(probs, dtype="<f4").tobytes())
            _check_aside(row.folder)
            alive()

        found = model.moments(row.path, progress=alive, on_part=on_part)
    write_atomically(row.folder / DONE, json.dumps({"notes": found.notes}))


def _check_aside(folder: Path) -> None:
    """Raise DataError where nobody looks at the film any more and another waits."""
    if (folder / ASIDE).exists():
        raise DataError("set aside for another film")


def _write_clock(path: Path, clock: FilmClock) -> None:
    with written_atomically(path) as new, new.open("wb") as stream:
        np.savez(
            stream,
            timestamps=clock.timestamps,
            first_frames=clock.first_frames,
            duration_seconds=np.array(clock.duration_seconds),
            rule=np.array(clock.rule),
        )
