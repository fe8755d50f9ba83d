"""A film as live sources send it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS = 20


def write_film(path: Path, b_frames: int = 0, size: tuple[int, int] = (24, 32)) -> Path:
    """Six seconds of MPEG-TS, which can be read from its beginning without its end, with a key frame each second."""
    background = np.random.default_rng(0).integers(0, 128, size=(*size, 3))
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": str(FPS), "bf": str(b_frames), "crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for i in range(6 * FPS):
            frame = av.VideoFrame.from_ndarray((background + i).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
