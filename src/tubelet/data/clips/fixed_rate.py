"""Sampling that needs no end: an evenly spaced grid of times laid over frames as they arrive.

Windows over a film or a stream take their frames from one grid that begins at the first frame, so that overlapping
windows share them, whatever the rate of the source. Each point of the grid takes the shown frame nearest to it (of
two equally near, the earlier), as the sampling by seconds of ``tubelet.data.clips.frame_sampling`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Frame = TypeVar("Frame")
_ROUNDING = 1e-6  # seconds: exact halves come out the same for every rate


def fixed_rate_indices(timestamps: NDArray[np.float64], seconds_per_sample: float) -> NDArray[np.int64]:
    """The frame at every point of the grid, from the first frame until the last one leaves the screen.

    The rule that :class:`FixedRateSampler` follows without knowing what comes, for a video whose times are all known.
    """
    times = timestamps - timestamps[0]
    count = _points(_end_of(len(times), float(times[-1])), seconds_per_sample)
    between = (times[1:] + times[:-1]) / 2 + _ROUNDING
    return np.searchsorted(between, np.arange(count) * seconds_per_sample, side="left")


@dataclass
class FixedRateSampler(Generic[Frame]):
    """Takes frames in the order of their times and yields one for every point of the grid, as soon as it is known.

    Attributes:
        seconds_per_sample: distance of the points.
        first_seconds: time of the first frame, where the grid begins; none before it came.
        num_samples: points that have got their frame so far.
    """

    seconds_per_sample: float
    first_seconds: float | None = None
    num_samples: int = 0
    _held: tuple[float, Frame] | None = None  # the latest frame, with its time from the first one
    _num_frames: int = field(default=0)

    def push(self, seconds: float, frame: Frame) -> Iterator[Frame]:
        """The frames of the points that ``frame`` decides; its time must be later than that of the one before.

        Raises:
            ValueError: it is not.
        """
        if self._held is None or self.first_seconds is None:
            self.first_seconds, self._held, self._num_frames = seconds, (0.0, frame), 1
            return
        now = seconds - self.first_seconds
        before, held = self._held
        if now <= before:
            raise ValueError(f"frames must come in the order of their times, got {now:.6f} s after {before:.6f} s")
        middle = (before + now) / 2 + _ROUNDING
        while self.num_samples * self.seconds_per_sample <= middle:
            self.num_samples += 1
            yield held
        self._held, self._num_frames = (now, frame), self._num_frames + 1

    def close(self) -> Iterator[Frame]:
        """The last frame, for the points until it leaves the screen."""
        if self._held is None:
            return
        count = _points(self.end_seconds, self.seconds_per_sample)
        while self.num_samples < count:
            self.num_samples += 1
            yield self._held[1]

    @property
    def end_seconds(self) -> float:
        """When the latest frame leaves the screen, from the first frame on."""
        return _end_of(self._num_frames, self._held[0]) if self._held else 0.0


def _end_of(count: int, last_seconds: float) -> float:
    """The last frame stays as long as frames do on average; 0 for a single one, for nothing tells."""
    return last_seconds * count / (count - 1) if count > 1 else 0.0


def _points(end_seconds: float, seconds_per_sample: float) -> int:
    """Points of the grid before the end; always the one at 0."""
    return max(1, int(np.ceil((end_seconds - _ROUNDING) / seconds_per_sample)))
