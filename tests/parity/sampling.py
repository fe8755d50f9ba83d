"""How far the frames of our views are from those that an original's data pipeline takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tubelet.data.clips.frame_sampling import view_clips
from tubelet.protocol import Protocol

_FPS = 30.0


def largest_distance(rows: Sequence[Mapping[str, Any]], protocol: Protocol) -> int:
    """The largest difference of a frame's number, over all temporal views of all rows."""
    return max(_distance(row, protocol) for row in rows)


def _distance(row: Mapping[str, Any], protocol: Protocol) -> int:
    clips: dict[int, list[int]] = {}
    for view in row["views"]:
        clips.setdefault(view["segment"], view["frames"])
    plans = view_clips(np.arange(row["num_frames"]) / _FPS, protocol, len(clips))
    pairs = zip(plans, clips.values(), strict=True)
    return max(int(np.abs(np.array(plan.indices) - frames).max()) for plan, frames in pairs)
