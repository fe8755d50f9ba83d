"""The process that has the models: it scores films and writes what it knows at once, part by part, into a folder.

    windows  film.json once, then a line of parts.jsonl per window
    steps    clock.npz once, then rows of float32 behind each other in probs.f32
    both     done.json when the film is over; of a volume it alone, with the prediction

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
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tubelet.app.config import STORED_LABELS
from tubelet.app.teaching.film_steps import FilmSteps
from tubelet.data.sources.open_source import naming_file, open_source
from tubelet.data.sources.volume import is_volume
from tubelet.errors import DataError
from tubelet.explain.tested import tested_of
from tubelet.files import appended_lines, write_atomically, written_atomically
from tubelet.inference.films import Film, Span, Windows, predict_film
from tubelet.inference.moments.film import MomentsModel, load_moments, moments_folder
from tubelet.inference.moments.head_file import has_head
from tubelet.inference.predictor import Classifier, load
from tubelet.protocol import Protocol
from tubelet.report.relevance.film import overlay_film
from tubelet.report.relevance.pictures import explanation_sheet
from tubelet.report.relevance.scale import scale_over
from tubelet.session.fast_fp32 import use_fast_fp32
from tubelet.session.progress import NoProgress
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import Device, Segment

ASIDE = "aside"  # while this file is in the folder, the film makes room for another
FILM, PARTS, CLOCK, PROBS, DONE = "film.json", "parts.jsonl", "clock.npz", "probs.f32", "done.json"
FALLBACK_WINDOW_SECONDS = 4.0  # of a model that spreads its frames over a whole clip, where none is asked for
_EXPLAINED_SAMPLES, _EXPLAINED_STEPS = 32, 8  # of a stretch whose frames are labeled; of integrated gradients
_SILENT_SECONDS = 300.0  # without progress for so long, the process is ended
_LOAD_SECONDS = 600.0


@dataclass(frozen=True)
class ScoreRequest:
    """A film to score with a run, into a folder."""

    path: Path
    run: str
    folder: Path
    features: Path | None = None  # folder of stored features of steps, which trainings share


@dataclass(frozen=True)
class ExplainRequest:
    """Where a model looked in a stretch of a film."""

    path: Path
    run: str
    label: str | None
    start_seconds: float
    end_seconds: float
    as_film: bool = False  # MP4 in place of a picture


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

    def __init__(self, windows: Windows, device: Device, threads: int) -> None:
        self._windows, self._device, self._threads = windows, device, threads
        self._models: dict[str, Classifier | MomentsModel] = {}
        self._backbones: dict[str, Classifier] = {}

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
                return self._explain(row, alive)
            shutil.rmtree(row.folder, ignore_errors=True)
            row.folder.mkdir(parents=True)
            if isinstance(model, MomentsModel):
                _score_steps(model, row, self._windows.frame_fps, alive)
            elif is_volume(row.path):
                _score_volume(model, row)
            else:
                _score_windows(model, row, windows_of(model, self._windows), alive)
        return None

    def _model(self, run: str) -> Classifier | MomentsModel:
        if run not in self._models:
            per_frame = has_head(moments_folder(Path(run)))
            self._models[run] = load_moments(run, self._device) if per_frame else load(run, self._device)
        return self._models[run]

    def _explain(self, row: ExplainRequest, alive: _Alive) -> bytes:
        model, how = self._model(row.run), dict[str, Any]()
        if isinstance(model, MomentsModel):
            known = tested_of(model.features.model).get("integrated_gradients")
            how = {} if known is not None and known.fails else {"num_steps": _EXPLAINED_STEPS}
        classifier = self._classifier(row.run)
        fps = self._windows.frame_fps if row.path.is_dir() else None
        reading = {"start_seconds": row.start_seconds, "end_seconds": row.end_seconds, "fps": fps}
        found = classifier.explain(str(row.path), class_name=row.label, progress=alive, reading=reading, **how)
        scale = scale_over([found])  # of training clips too it would take several times as long
        if not row.as_film:
            return explanation_sheet(dataclasses.replace(found, source=row.path.name), scale)
        with open_source(row.path, None, classifier.protocol, fps) as reader:
            return overlay_film([found], reader, scale)

    def _classifier(self, run: str) -> Classifier:
        """The model, or the backbone of one that labels frames, whose head ``explain`` reads beside it."""
        model = self._model(run)
        if isinstance(model, Classifier):
            return model
        if run not in self._backbones:
            self._backbones[run] = load(moments_folder(Path(run)), self._device)
        return self._backbones[run]


def explained_stretch(protocol: Protocol, fps: float, start: float, stop: float) -> tuple[float, float]:
    """The middle of a stretch whose frames are labeled, as much of it as a heat map is made of; in seconds."""
    rate = protocol.target_fps or fps / (protocol.frame_stride or 1)
    half, middle = _EXPLAINED_SAMPLES / rate / 2, (start + stop) / 2
    return max(start, middle - half), min(stop, middle + half)


def windows_of(model: Classifier, asked: Windows) -> Windows:
    """How windows lie on films for a model."""
    model.check_classes()
    window: Span = asked.window
    if window == "clip" and model.protocol.sampling != "dense":
        window = FALLBACK_WINDOW_SECONDS
    return dataclasses.replace(asked, window=window, top_k=min(STORED_LABELS, len(model.labels)))


def _score_volume(model: Classifier, row: ScoreRequest) -> None:
    """A volume has no times to lay windows on: it is predicted whole."""
    prediction = model.predict(str(row.path), top_k=min(STORED_LABELS, len(model.labels)))
    with open_source(row.path, None, model.protocol) as reader:
        seconds = reader.duration_seconds
    content = {"notes": prediction.notes, "prediction": dataclasses.asdict(prediction), "seconds": seconds}
    write_atomically(row.folder / DONE, json.dumps(content))


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


def _score_steps(model: MomentsModel, row: ScoreRequest, frame_fps: float | None, alive: _Alive) -> None:
    fps = frame_fps if row.path.is_dir() else None
    with (row.folder / PROBS).open("ab", buffering=0) as stream:

        def on_part(clock: FilmClock, probs: Float[np.ndarray, "m K"]) -> None:
            if not (row.folder / CLOCK).exists():
                _write_clock(row.folder / CLOCK, clock)
            stream.write(np.ascontiguousarray(probs, dtype="<f4").tobytes())
            _check_aside(row.folder)
            alive()

        # Frame folders do not say their rate: what is stored at one would be taken for another's.
        store = None if row.features is None or row.path.is_dir() else FilmSteps.of(row.features, model, row.path)
        found = model.moments(row.path, frame_fps=fps, progress=alive, on_part=on_part, store=store)
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
