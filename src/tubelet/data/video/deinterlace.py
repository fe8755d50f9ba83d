"""Deinterlacing: an interlaced frame holds two fields, every other line, of two moments.

Each frame becomes a picture of its upper field, and the mean of the lines above and below stands in place of each line
of the other field. So a picture depends on its own frame alone: it is the same whether its neighbors are decoded or
not. Moving edges have no combs; half of the lines are new (a field of 1080i has 540, of 576i 288 lines).
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

# FFmpeg's field orders above it are interlaced. Most decoders flag their frames; the stream's order counts for those
# that do not.
_PROGRESSIVE = 1
_UNFLAGGED = frozenset({"ffv1", "ffvhuff", "huffyuv", "magicyuv", "rawvideo", "utvideo", "v210"})


def is_interlaced(frame: av.VideoFrame, codec: str = "", field_order: int = 0) -> bool:
    """Whether a frame holds two fields: by its flag, or by the order of its stream where the codec sets no flags."""
    return bool(frame.interlaced_frame) or (field_order > _PROGRESSIVE and codec in _UNFLAGGED)


def deinterlaced(frame: av.VideoFrame) -> av.VideoFrame:
    """A new frame of the upper field of this one."""
    if frame.format.is_bit_stream or _sample_type(frame) is None:
        frame = frame.reformat(format="gbrp", threads=1)
    dtype = _sample_type(frame)
    new = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, new.planes, strict=True):
        lines = np.frombuffer(source, dtype=dtype).reshape(source.height, -1)
        width = min(source.line_size, target.line_size) // lines.itemsize
        out = np.zeros((target.height, target.line_size // lines.itemsize), dtype=dtype)
        out[:, :width] = _upper_field(lines[:, :width])
        target.update(out.tobytes())
    new.pts = frame.pts
    if frame.time_base is not None:
        new.time_base = frame.time_base
    new.colorspace, new.color_range = frame.colorspace, frame.color_range
    new.color_trc, new.color_primaries = frame.color_trc, frame.color_primaries
    return new


def _sample_type(frame: av.VideoFrame) -> np.dtype | None:
    """The type of the samples in memory. None where they are packed into bits."""
    bits = {component.bits for component in frame.format.components}
    if bits == {8}:
        return np.dtype("u1")
    if frame.format.name.startswith("v210") or max(bits) < 8:
        return None
    return np.dtype(">u2" if frame.format.is_big_endian else "<u2")


def _upper_field(lines: NDArray[Any]) -> NDArray[Any]:
    """Lines 0, 2, 4 ..., and between them their means; the last line repeats where there is none below."""
    out = lines.copy()
    upper: NDArray[Any] = lines[::2].astype(np.uint32 if lines.itemsize > 1 else np.uint16)
    between = out[1::2]
    between[: len(upper) - 1] = (upper[:-1] + upper[1:] + 1) >> 1
    if len(between) == len(upper):
        between[-1] = lines[-2]
    return out
