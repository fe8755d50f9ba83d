"""Stored scores of a film, shown as the page asks: only sliced anew, never computed anew.

S  steps   K  classes
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tubelet import config as config_io
from tubelet.app.scoring import CLOCK, DONE, FILM, PARTS, PROBS
from tubelet.data.video.frame_times import FrameRule
from tubelet.errors import DataError
from tubelet.files import json_lines
from tubelet.inference.films import Film
from tubelet.inference.moments.film import FilmMoments, moments_of
from tubelet.inference.moments.head_file import HeadRecord
from tubelet.inference.windows import WindowPlan
from tubelet.report.ethogram import columns_of
from tubelet.report.timeline import MAX_LABELS, cells, labels_by_time, shown_spans
from tubelet.tasks.per_frame.rules import BoutRule
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import HeadScores, Prediction, Segment

_MOST_COLUMNS = 4000  # that the page gets of a film
_RULES: dict[str, FrameRule] = {"on_screen": "on_screen", "nearest": "nearest"}


Ranked = TypeVar("Ranked", Prediction, HeadScores)


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """How stored scores are shown."""

    top_k: int = 5  # labels of a window
    merge: bool = False  # windows: neighbors with the same best label become one segment
    group: int = 1  # windows: so many neighbors become one, with the mean of their scores
    threshold: float | None = None  # windows: less probable ones are no suggestion; steps: where bouts begin and end
    least_seconds: float | None = None  # steps: shorter bouts are left out
    gap_seconds: float | None = None  # steps: longest gap inside a bout

    def rules(self, record: HeadRecord) -> list[BoutRule]:
        """Those of the head, with what is asked in their place."""
        own = record.bout_rules
        return [
            BoutRule(
                on=rule.on if self.threshold is None else self.threshold,
                off=rule.off if self.threshold is None else self.threshold,
                least_seconds=rule.least_seconds if self.least_seconds is None else self.least_seconds,
                gap_seconds=rule.gap_seconds if self.gap_seconds is None else self.gap_seconds,
            )
            for rule in own
        ]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A stretch with the label that a model gives it."""

    label: str
    start: float
    stop: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The probability of each label over time, between edges; None where nothing is known."""

    labels: list[str]
    edges: list[float]
    probs: list[list[float | None]]  # of each label


@dataclass(frozen=True, kw_only=True)
class WindowScores:
    """Scores of windows, perhaps of those that are known so far."""

    film: Film
    is_done: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return self.film.notes

    @property
    def known_seconds(self) -> float:
        """How far the film is scored."""
        return self.film.segments[-1].end_seconds if self.film.segments else 0.0

    def result(self, slicing: Slicing) -> dict[str, Any]:
        """What ``tubelet predict --window --json`` prints of the film."""
        return self.film.sliced(merge=slicing.merge, top_k=slicing.top_k, group=slicing.group).to_dict()

    def suggestions(self, slicing: Slicing) -> list[Suggestion]:
        """The best label of each segment, where it is probable enough."""
        shown = self.film.sliced(merge=slicing.merge, top_k=slicing.top_k, group=slicing.group).segments
        least = slicing.threshold or 0.0
        return [
            Suggestion(label=s.top1, start=start, stop=stop, score=s.probs[0])
            for s, (start, stop) in zip(shown, shown_spans(shown), strict=True)
            if s.probs[0] >= least
        ]

    def curves(self, slicing: Slicing) -> Curves:
        """The labels that hold most of the film."""
        shown = self.film.sliced(merge=False, top_k=None, group=slicing.group).segments
        if not shown:
            return Curves(labels=[], edges=[], probs=[])
        labels = labels_by_time(shown)
        edges, probs = cells(shown, shown_spans(shown), labels)
        return _curves(labels, edges, probs)


@dataclass(frozen=True, kw_only=True)
class StepScores:
    """Scores of steps, perhaps of those that are known so far."""

    source: str
    probs: np.ndarray  # S K, with background
    clock: FilmClock
    record: HeadRecord
    is_done: bool
    notes: tuple[str, ...] = ()

    @property
    def known_seconds(self) -> float:
        """How far the film is scored."""
        return float(self.clock.edges[len(self.probs)])

    def moments(self, slicing: Slicing) -> FilmMoments:
        """The bouts by the rules that are asked for."""
        rules = slicing.rules(self.record)
        return moments_of(self.probs, self.clock, self.record, self.source, rules=rules, notes=self.notes)

    def result(self, slicing: Slicing) -> dict[str, Any]:
        """What ``tubelet moments --json`` prints of the film."""
        return self.moments(slicing).to_dict()

    def suggestions(self, slicing: Slicing) -> list[Suggestion]:
        """The bouts."""
        found = self.moments(slicing)
        return [
            Suggestion(label=bout.label, start=bout.start, stop=bout.stop, score=score)
            for bout, score in zip(found.bouts, found.scores, strict=True)
        ]

    def curves(self, slicing: Slicing) -> Curves:
        """All behaviors; of long films the largest of neighboring steps."""
        found = self.moments(slicing)
        edges, probs = columns_of(found)
        return _curves(list(found.labels), edges, probs.T)


@dataclass(frozen=True, kw_only=True)
class VolumeScores:
    """The prediction of a volume, which has no windows."""

    prediction: Prediction  # with more labels than are shown
    known_seconds: float  # slices
    is_done: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return self.prediction.notes

    def shown(self, slicing: Slicing) -> Prediction:
        """With as many labels as are asked for."""
        best = _best(self.prediction, slicing.top_k)
        heads = {name: _best(scores, slicing.top_k) for name, scores in self.prediction.heads.items()}
        return dataclasses.replace(best, heads=heads)

    def result(self, slicing: Slicing) -> dict[str, Any]:
        """What ``tubelet predict --json`` prints of the volume."""
        return dataclasses.asdict(self.shown(slicing))

    def suggestions(self, slicing: Slicing) -> list[Suggestion]:
        """The best label, of the whole volume."""
        label, score = self.prediction.labels[0], self.prediction.probs[0]
        whole = Suggestion(label=label, start=0.0, stop=self.known_seconds, score=score)
        return [whole] if score >= (slicing.threshold or 0.0) else []

    def curves(self, slicing: Slicing) -> Curves:
        """The best labels, of the whole volume."""
        best = _best(self.prediction, MAX_LABELS)
        probs: list[list[float | None]] = [[round(prob, 4)] for prob in best.probs]
        return Curves(labels=list(best.labels), edges=[0.0, self.known_seconds], probs=probs)


Scores = WindowScores | StepScores | VolumeScores


def finished(scores: Scores | None) -> Scores:
    """The scores of a whole film. Raises DataError where it is not scored to its end yet."""
    if scores is None or not scores.is_done:
        raise DataError("the film is not scored to its end yet; wait, then ask again")
    return scores


def read_scores(folder: Path, source: Path, record: HeadRecord | None) -> Scores | None:
    """What a scoring process has written so far. None means nothing yet."""
    done: dict[str, Any] | None = None
    if (folder / DONE).is_file():
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
    notes = tuple(done["notes"]) if done else ()
    if done is not None and "prediction" in done:
        return VolumeScores(prediction=_prediction(done["prediction"]), known_seconds=done["seconds"])
    if record is None:
        if not (folder / FILM).is_file():
            return None
        about = json.loads((folder / FILM).read_text(encoding="utf-8"))
        film = Film(
            source=str(source),
            duration_seconds=about["duration_seconds"],
            fps=about["fps"],
            plan=config_io.from_dict(WindowPlan, about["plan"]),
            segments=tuple(map(_segment, json_lines(folder / PARTS))),
            notes=notes,
        )
        return WindowScores(film=film, is_done=done is not None)
    if not (folder / CLOCK).is_file():
        return None
    clock = _clock(folder / CLOCK)
    width = len(record.labels)
    values = np.frombuffer((folder / PROBS).read_bytes()[: 4 * width * clock.num_steps], dtype="<f4")
    probs = values[: len(values) // width * width].reshape(-1, width).astype(np.float32)
    if not len(probs):
        return None
    return StepScores(
        source=str(source), probs=probs, clock=clock, record=record, is_done=done is not None, notes=notes
    )


def _best(scores: Ranked, top_k: int) -> Ranked:
    return dataclasses.replace(scores, labels=scores.labels[:top_k], probs=scores.probs[:top_k])


def _prediction(line: dict[str, Any]) -> Prediction:
    return Prediction(
        source=line["source"],
        labels=tuple(line["labels"]),
        probs=tuple(line["probs"]),
        num_views=line["num_views"],
        seconds_covered=line["seconds_covered"],
        notes=tuple(line["notes"]),
        heads=_heads(line),
    )


def _heads(line: dict[str, Any]) -> dict[str, HeadScores]:
    return {
        name: HeadScores(labels=tuple(scores["labels"]), probs=tuple(scores["probs"]))
        for name, scores in line["heads"].items()
    }


def _segment(line: dict[str, Any]) -> Segment:
    return Segment(
        start_seconds=line["start_seconds"],
        end_seconds=line["end_seconds"],
        labels=tuple(line["labels"]),
        probs=tuple(line["probs"]),
        heads=_heads(line),
    )


def _clock(path: Path) -> FilmClock:
    with np.load(path, allow_pickle=False) as stored:
        return FilmClock(
            timestamps=stored["timestamps"],
            first_frames=stored["first_frames"],
            duration_seconds=float(stored["duration_seconds"]),
            rule=_RULES[str(stored["rule"])],
        )


def _curves(labels: list[str], edges: np.ndarray, probs: np.ndarray) -> Curves:
    """Of many columns the largest of neighboring ones, as many as a screen shows."""
    size = -(-probs.shape[1] // _MOST_COLUMNS)
    if size > 1:
        firsts = np.arange(0, probs.shape[1], size)
        edges, probs = np.append(edges[firsts], edges[-1]), np.fmax.reduceat(probs, firsts, axis=1)
    rows = [[None if np.isnan(p) else round(float(p), 4) for p in row] for row in probs]
    return Curves(labels=labels, edges=[round(float(edge), 6) for edge in edges], probs=rows)
