"""The originals' rules for test frames, written down to be compared with what they recorded and with our own views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tubelet.data.clips.frame_sampling import view_clips
from tubelet.protocol import Protocol

_FPS = 30.0


def clips_of(row: Mapping[str, Any]) -> list[list[int]]:
    """The recorded frames of each temporal view; every crop of it has the same."""
    clips: dict[int, list[int]] = {}
    for view in row["views"]:
        assert clips.setdefault(view["segment"], view["frames"]) == view["frames"]
    return list(clips.values())


def every_nth(num_frames: int, *, length: int, step: int, num_clips: int) -> list[list[int]]:
    """Clips spread evenly over every ``step``-th frame of the video (VideoMAE on Kinetics)."""
    frames = list(range(0, num_frames, step))
    frames += [frames[-1]] * (length - len(frames))
    starts = [int(k * (len(frames) - length) / (num_clips - 1)) for k in range(num_clips)]
    return [frames[start : start + length] for start in starts]


def interleaved(num_frames: int, *, length: int, num_clips: int) -> list[list[int]]:
    """The same place of each of ``length`` segments, one place further in each clip (VideoMAE on SSv2)."""
    tick = num_frames / length
    return [[int(tick * k / num_clips + tick * i) for i in range(length)] for k in range(num_clips)]


def largest_distance(num_frames: int, clips: Iterable[Iterable[int]], protocol: Protocol) -> int:
    """The largest difference of a frame's number between the clips and our temporal views."""
    theirs = [np.array(list(clip)) for clip in clips]
    plans = view_clips(np.arange(num_frames) / _FPS, protocol, len(theirs))
    return max(int(np.abs(np.array(p.indices) - clip).max()) for p, clip in zip(plans, theirs, strict=True))
