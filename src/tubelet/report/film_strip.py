"""A few frames of a clip side by side, as images inside the page."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.report.plots import jpeg

MAX_FRAMES = 8


def frames_of(dataset: ClipDataset, row: int) -> UInt8[np.ndarray, "T H W 3"]:
    """Frames of the middle view of a row, of a dataset in views mode. Raises DataError."""
    pixels = dataset.read(row).pixels
    frames: UInt8[np.ndarray, "T H W C"] = pixels[len(pixels) // 2].permute(1, 2, 3, 0).numpy()
    return as_rgb(frames)


def as_rgb(frames: UInt8[np.ndarray, "*T H W C"]) -> UInt8[np.ndarray, "*T H W 3"]:
    """Frames of one channel as gray RGB; others as they are."""
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames


def spread_frames(num_frames: int) -> list[int]:
    """At most ``MAX_FRAMES`` indices of a clip, evenly spread, with the first and the last frame."""
    return np.linspace(0, num_frames - 1, min(MAX_FRAMES, num_frames)).round().astype(int).tolist()


def film_strip(frames: UInt8[np.ndarray, "T H W 3"]) -> list[tuple[str, str]]:
    """(alternative text, data address) of evenly spread frames."""
    return [
        (f"frame {i + 1} of {len(frames)}", jpeg(np.ascontiguousarray(frames[i]))) for i in spread_frames(len(frames))
    ]


def link_to(file: Path, page: Path, start_seconds: float | None, end_seconds: float | None) -> str:
    """Address of a video as seen from the page, so that both can move together; with the segment that players show."""
    try:
        address = quote(Path(os.path.relpath(file, page.parent)).as_posix())
    except ValueError:  # on another drive
        address = file.resolve().as_uri()
    if start_seconds is None and end_seconds is None:
        return address
    return f"{address}#t={start_seconds or 0:g}" + ("" if end_seconds is None else f",{end_seconds:g}")
