"""Windows of several segments of a video, which enter a model together: the frames of V-JEPA 2's probes.

The video is cut into equal segments, and each gives a window of n frames, spread evenly over n ``frame_stride`` source
frames, so that some lie one frame further apart than the stride. Windows longer than a segment overlap; they are
spread over the video. A video shorter than a window is held at its end.

Source: facebookresearch/vjepa2, commit c2963a47, ``src/datasets/video_dataset.py``, with overlap allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def spread_windows(
    count: int, num_segments: int, num_frames: int, stride: int, start_of: Callable[[int], int]
) -> NDArray[np.int64]:
    """The frames of all windows, one window after the other.

    Args:
        count: frames of the video.
        num_frames: of one window.
        stride: source frames for each frame of a window.
        start_of: where a window begins within its segment, for that many places where it can (at least 1).
    """
    span, segment = num_frames * stride, count // num_segments
    if segment > span:
        starts = [i * segment + start_of(segment - span) for i in range(num_segments)]
        within = np.clip(np.linspace(0, span, num=num_frames), 0, span - 1)
    else:
        last = min(span, count) - 1
        within = np.linspace(0, last, num=last // stride)
        within = np.append(within, np.full(num_frames - len(within), last)).clip(0, max(last - 1, 0))
        shift = (count - span) // max(num_segments - 1, 1) if count > span else 0
        starts = [i * shift for i in range(num_segments)]
    frames: NDArray[np.int64] = np.add.outer(starts, within.astype(np.int64)).reshape(-1)
    return frames
