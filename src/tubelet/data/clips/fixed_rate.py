"""Sampling at a fixed rate, for long videos and for streams whose end is unknown.

Sample times are evenly spaced and begin at the first frame. Windows take their frames from these samples, so that
overlapping windows share frames, whatever the rate of the source. Each sample takes the frame that stands for its time
(``tubelet.data.video.frame_times``), as sampling by seconds in ``tubelet.data.clips.frame_sampling`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tubelet.data.video.frame_times import ROUNDING_SECONDS, FrameRule, frames_at_times, takes_over

Frame = TypeVar("Frame")


def fixed_rate_indices(
    timestamps: NDArray[np.float64], seconds_per_sample: float, rule: FrameRule
) -> NDArray[np.int64]:
    """The frame of every sample, from the first frame until the last one leaves the screen.

    ``FixedRateSampler`` gives the same frames without knowing the times that follow.
    """
    times = timestamps - timestamps[0]
    count = _num_samples(_end_of(len(times), float(times[-1])), seconds_per_sample)
    return frames_at_times(times, np.arange(count) * seconds_per_sample, rule)


@dataclass
class FixedRateSampler(Generic[Frame]):
    """Takes frames in the order of their times and yields one for every sample, as soon as it is known.

    Attributes:
        seconds_per_sample: time between two samples.
        rule: which frame stands for a sample's time.
        first_seconds: time of the first frame and of the first sample. None before the first frame.
        num_samples: samples that have their frame so far.
    """

    seconds_per_sample: float
    rule: FrameRule
    first_seconds: float | None = None
    num_samples: int = 0
    _held: tuple[float, Frame] | None = None  # the latest frame, with its time from the first one
    _num_frames: int = field(default=0)

    def push(self, seconds: float, frame: Frame) -> Iterator[Frame]:
        """Add a frame. Yields the frames of the samples that it decides.

        Raises:
            ValueError: its time is not later than that of the frame before.
        """
        if self._held is None or self.first_seconds is None:
            self.first_seconds, self._held, self._num_frames = seconds, (0.0, frame), 1
            return
        now = seconds - self.first_seconds
        before, held = self._held
        if now <= before:
            raise ValueError(f"frames must come in the order of their times, got {now:.6f} s after {before:.6f} s")
        held_until = takes_over(before, now, self.rule)
        while self.num_samples * self.seconds_per_sample <= held_until:
            self.num_samples += 1
            yield held
        self._held, self._num_frames = (now, frame), self._num_frames + 1

    def close(self) -> Iterator[Frame]:
        """Yield the last frame for the samples until it leaves the screen."""
        if self._held is None:
            return
        count = _num_samples(self.end_seconds, self.seconds_per_sample)
        while self.num_samples < count:
            self.num_samples += 1
            yield self._held[1]

    @property
    def end_seconds(self) -> float:
        """When the latest frame leaves the screen, from the first frame on."""
        return _end_of(self._num_frames, self._held[0]) if self._held else 0.0


def _end_of(count: int, last_seconds: float) -> float:
    """The last frame stays as long as frames do on average. 0 for a single frame, whose time is unknown."""
    return last_seconds * count / (count - 1) if count > 1 else 0.0


def _num_samples(end_seconds: float, seconds_per_sample: float) -> int:
    """Number of samples before the end; the one at 0 always counts."""
    return max(1, int(np.ceil((end_seconds - ROUNDING_SECONDS) / seconds_per_sample)))
