"""Footage of its own for each seed, as frames and as files, to copy, mirror and brighten."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

FPS = 12


def film(seed: int, num_frames: int = 60) -> np.ndarray:
    """Footage "T H W 3" of its own: patches that drift over patches."""
    rng = np.random.default_rng(seed)
    back, front = (rng.integers(30, 220, (16, 40, 3)).repeat(6, axis=0).repeat(6, axis=1) for _ in range(2))
    frames = [
        np.where(np.arange(240)[None, :, None] % 60 < 30, np.roll(back, t, 1), np.roll(front, -2 * t, 1))
        for t in range(num_frames)
    ]
    return np.stack(frames)[:, :96, :128].astype(np.uint8)


def write(path: Path, frames: np.ndarray, crf: int = 23) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def brighter(frames: np.ndarray) -> np.ndarray:
    return (frames * 0.7 + 60).clip(0, 255).astype(np.uint8)
