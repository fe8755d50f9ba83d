"""The part of a source that a row names by seconds: which frames it has, and how long they are shown.

``timestamps`` are seconds, ascending, one per shown frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubelet.data.video.frame_times import FrameRule, frames_at_times
from tubelet.errors import DataError
from tubelet.protocol import Protocol

Timestamps = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Frames of a source in a row: all of it, or a segment."""

    times: Timestamps  # of the frames; the first may have appeared before the segment begins, and has its start here
    end: float | None = None  # when the last leaves the screen. None: it stays as long as frames do on average

    @property
    def seconds(self) -> float:
        """From the first frame until the last leaves the screen. 0 for a single frame whose end is unknown."""
        if self.end is not None:
            return self.end - float(self.times[0])
        count = len(self.times)
        return float(self.times[-1] - self.times[0]) * count / (count - 1) if count > 1 else 0.0


def segment(
    timestamps: Timestamps,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    rule: FrameRule = "nearest",
) -> tuple[int, int]:
    """The index range (first, stop) of the frames that appear at start <= t < end; None leaves a side open.

    With the rule "on_screen" it begins with the frame that is on screen at the start.

    Raises:
        DataError: no frame appears in that time, or with the rule "on_screen", the source is over.
    """
    start = -np.inf if start_seconds is None else start_seconds
    end = np.inf if end_seconds is None else end_seconds
    first, stop = (int(np.searchsorted(timestamps, t, side="left")) for t in (start, end))
    if rule == "on_screen" and len(timestamps) and start < _end_of(timestamps):
        first = int(frames_at_times(timestamps, np.array([start]), rule)[0])
        stop = max(first + 1, stop)
    if not start < end or first >= stop:
        last = f"the last of {len(timestamps)} frames appears at {timestamps[-1]:.3f} s" if len(timestamps) else ""
        raise DataError(
            f"segment {start:g} to {end:g} s holds no frame{last and '; ' + last}; check its start and end seconds"
        )
    return first, stop


def part_of(
    timestamps: Timestamps, start_seconds: float | None, end_seconds: float | None, protocol: Protocol
) -> tuple[Part, int]:
    """The part of a source that a row names, and the index of its first frame. Raises DataError as ``segment``.

    Sampling by time begins with what is on screen at the start and lasts to the end, whenever frames appear. Other
    sampling counts the frames that appear, or takes the one on screen where none does.
    """
    first, stop = segment(timestamps, start_seconds, end_seconds, protocol.frame_at_time)
    times, start = timestamps[first:stop], -np.inf if start_seconds is None else start_seconds
    if protocol.frame_at_time == "nearest":
        return Part(times=times), first
    if protocol.sampling == "dense" and protocol.target_fps is not None:
        is_cut = end_seconds is not None and end_seconds < _end_of(timestamps)
        return Part(times=np.maximum(times, start), end=end_seconds if is_cut else _end_of(timestamps)), first
    skipped = int(len(times) > 1 and times[0] < start)
    return Part(times=times[skipped:]), first + skipped


def _end_of(timestamps: Timestamps) -> float:
    """When the last frame of a source leaves the screen."""
    return float(timestamps[0]) + Part(times=timestamps).seconds
