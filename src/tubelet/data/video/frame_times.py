"""Which frame stands for a time: the one rule of clips, windows, streams, features and readers.

A frame is on screen from its own time until that of the next one. Checkpoints of version 0.1.0 were made with the
nearest frame instead, which may be one that appears later.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

FrameRule = Literal["on_screen", "nearest"]  # as ``Protocol.frame_at_time``
Time = TypeVar("Time", float, NDArray[np.float64])

ROUNDING_SECONDS = 1e-6  # far below the length of any frame; with it exact times and halves round alike at every rate


def takes_over(before: Time, after: Time, rule: FrameRule) -> Time:
    """The time after which a frame at ``after`` seconds stands in place of the one ``before`` it."""
    if rule == "nearest":
        return (before + after) / 2 + ROUNDING_SECONDS  # of two equally near, the earlier
    return after - ROUNDING_SECONDS


def frames_at_times(
    timestamps: NDArray[np.float64], times: NDArray[np.floating[Any]], rule: FrameRule
) -> NDArray[np.int64]:
    """The index of the frame that stands for each of the times, which count from where ``timestamps`` count from."""
    return np.searchsorted(takes_over(timestamps[:-1], timestamps[1:], rule), times, side="left")
