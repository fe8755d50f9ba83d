"""From bouts to the target of every time step, on the clock of the film's frames.

A bout covers the frames from the one on screen when it starts to the one before that on screen when it stops, and at
least one. A time that may be that of the next frame, rounded when it was written, is that of the next frame: frames of
30000/1001 per second lie between milliseconds. A step has the label where the bout covers half of it; the step that
sees most of a shorter one has it too.

    N  frames of the film   S  steps of it   K  classes

The target of a step is one number: the class where behaviors exclude each other, else the sum of 2^k of those that are
seen. -1 means that it is not labeled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED, Bout, LabeledFilm
from tubelet.data.video.frame_times import FrameRule, frames_at_times
from tubelet.errors import DataError

UNLABELED = -1
MOST_ROUNDING = 0.25  # of the time between two frames; times that are exact stay so, however few digits they need
MAX_CLASSES = 62  # bits of a target
Span = tuple[float, float]  # seconds


@dataclass(frozen=True, kw_only=True)
class FilmClock:
    """When each frame of a film is shown, and which frames make a step."""

    timestamps: Float[np.ndarray, " N"]  # seconds from the first shown frame, ascending
    duration_seconds: float  # when the last frame leaves the screen
    first_frames: Int[np.ndarray, " S"]  # of each step, ascending
    rule: FrameRule = "on_screen"

    @property
    def num_steps(self) -> int:
        return len(self.first_frames)

    @property
    def edges(self) -> Float[np.ndarray, " S_and_1"]:
        """When each step begins, and when the last one ends."""
        return np.append(self.timestamps[self.first_frames], self.duration_seconds)

    @property
    def fps(self) -> float:
        """Frames per second, averaged over the film."""
        times = self.timestamps
        return (len(times) - 1) / float(times[-1]) if len(times) > 1 else 1.0

    @property
    def step_of_frame(self) -> Int[np.ndarray, " N"]:
        """The step that each frame belongs to."""
        return np.searchsorted(self.first_frames, np.arange(len(self.timestamps)), side="right") - 1

    def span(self, bout: Bout) -> Span:
        """Start and stop of a bout in seconds, at the times of frames.

        Raises:
            DataError: it starts behind the film's end.
        """
        count = len(self.timestamps)
        if bout.unit == "frames":
            first, stop = int(bout.start), int(bout.stop)
        else:
            first, stop = self._frame(bout.start, bout.rounding), self._frame(bout.stop, bout.rounding)
            first -= first == count and bout.start < self.duration_seconds
        if first >= count:
            raise DataError(
                f"{bout.where}: '{bout.label}' starts at {bout.start:g} {bout.unit}, behind the film's end "
                f"({self.duration_seconds:.3f} s, {count} frames)"
            )
        stop = min(max(stop, first + 1), count)
        end = self.duration_seconds if stop == count else float(self.timestamps[stop])
        return float(self.timestamps[first]), end

    def _frame(self, time: float, rounding: float) -> int:
        """The frame that a written time names; the number of frames for times behind the last one."""
        if time >= self.duration_seconds:
            return len(self.timestamps)
        frame = int(frames_at_times(self.timestamps, np.array([time]), self.rule)[0])
        if self.rule == "nearest":
            return frame
        shown, until = self.timestamps[frame], self._until(frame)
        return frame + int(until - time <= min(rounding, MOST_ROUNDING * (until - shown)) + 1e-9)

    def _until(self, frame: int) -> float:
        """When the next frame is shown, or the last one leaves the screen."""
        return float(self.timestamps[frame + 1]) if frame + 1 < len(self.timestamps) else self.duration_seconds


def check_frames(film: LabeledFilm, clock: FilmClock) -> None:
    """Check that labels of every frame are of this film.

    Raises:
        DataError: the film has another number of frames.
    """
    count = len(clock.timestamps)
    if film.num_frames is not None and film.num_frames != count:
        raise DataError(
            f"has labels for {film.num_frames} frames, and the film has {count}; they are of another film, or of this "
            "one before it was cut or encoded anew"
        )


def spans_by_label(bouts: Sequence[Bout], clock: FilmClock) -> dict[str, list[Span]]:
    """Start and stop of the bouts of each label; those of several subjects that touch become one."""
    found: dict[str, list[Span]] = {}
    for bout in bouts:
        found.setdefault(bout.label, []).append(clock.span(bout))
    return {label: _united(spans) for label, spans in found.items()}


def _united(spans: Sequence[Span]) -> list[Span]:
    united: list[Span] = []
    for start, stop in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(stop, united[-1][1])
        else:
            united.append((start, stop))
    return united


def step_targets(
    spans: dict[str, list[Span]], names: Sequence[str], edges: Float[np.ndarray, " S_and_1"], *, one: bool
) -> Int[np.ndarray, " S"]:
    """The target of every step.

    Args:
        spans: from ``spans_by_label``.
        names: classes in the order of the logits; of one, the first is background.
        edges: of the steps.
        one: behaviors exclude each other. Where two are seen all the same, the step has the one that fills more of it.

    Raises:
        DataError: a label is no class, or there are more classes than a target has bits.
    """
    if unknown := set(spans) - {*names, BACKGROUND, IGNORED}:
        raise DataError(f"'{min(unknown)}' is not among the classes {', '.join(names)}")
    if len(names) > MAX_CLASSES:
        raise DataError(f"{len(names)} classes, a film's steps have at most {MAX_CLASSES}")
    shares = np.stack([_shares(spans.get(name, ()), edges) for name in names])  # K S
    seen = shares > 0.5 - 1e-9
    if one:
        shares[0] = 0.5 - 1e-9  # background where nothing else fills half of the step
        codes = shares.argmax(axis=0)
    else:
        codes = (seen * (1 << np.arange(len(names)))[:, None]).sum(axis=0)
    ignored = _shares(spans.get(IGNORED, ()), edges) > 0.5 - 1e-9
    return np.where(ignored, UNLABELED, codes).astype(np.int64)


def _shares(spans: Sequence[Span], edges: Float[np.ndarray, " S_and_1"]) -> Float[np.ndarray, " S"]:
    """How much of each step is covered; the step that sees most of a bout counts as covered."""
    lengths, shares = np.maximum(np.diff(edges), 1e-12), np.zeros(len(edges) - 1)
    for start, stop in spans:
        first = max(0, int(np.searchsorted(edges, start, side="right")) - 1)
        last = min(len(shares), max(first + 1, int(np.searchsorted(edges, stop, side="left"))))
        covered = np.minimum(stop, edges[first + 1 : last + 1]) - np.maximum(start, edges[first:last])
        part = np.clip(covered, 0, None) / lengths[first:last]
        shares[first:last] += part
        if part.max(initial=0.0) < 0.5:
            shares[first + int(part.argmax())] = 1.0
    return shares


def seen_classes(codes: Int[np.ndarray, " S"], num_classes: int, *, one: bool) -> Bool[np.ndarray, "S K"]:
    """Which classes each step has; none where it is not labeled."""
    classes = np.arange(num_classes)
    if one:
        return codes[:, None] == classes
    return ((codes[:, None] >> classes) & 1).astype(bool) & (codes[:, None] >= 0)
