"""Perceptual fingerprints of clips over time, and how alike two clips are at the best shift between them.

A fingerprint is a small gray picture six times a second: its fine structure (what differs from the surroundings), of
zero mean and unit length. So brightness, contrast, size and compression hardly change it, and the product of two is
their correlation. Two clips are compared at every shift at which they overlap by about half, as they are and mirrored.

    T  pictures of a clip   S  pixels of a side   D = S * S   N  clips   Q  pictures compared   L  shifts
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional

from tubelet.data.sources.frame_folder import UNTIMED_FPS, FrameFolderReader
from tubelet.data.sources.open_source import open_source
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import CropWindow
from tubelet.protocol import Protocol

PICTURES_PER_SECOND = 6
MAX_SECONDS = 60.0  # of a file, from its beginning
SIZE = 16  # S
_SURROUNDINGS = 9  # pixels of a side of what a pixel is compared with, odd
_STEP = 3  # one picture in so many of the one clip is compared with all of the other
_OVERLAP = 0.45  # of the shorter clip, at least
_USUAL_FPS = 25.0  # of frame folders whose rate is not known
_READ_AT_ONCE = 32  # pictures of a frame folder

Fingerprint = Float[np.ndarray, "T D"]


def fingerprint(path: Path, entry: str | None = None, fps: float | None = None) -> Fingerprint:
    """The fingerprint of a video or a frame folder.

    Args:
        entry: the address of a video in a tar shard.
        fps: of a frame folder.

    Raises:
        DataError: it cannot be read.
    """
    with open_source(path, entry, Protocol(target_fps=None), fps) as reader:
        times = np.asarray(reader.timestamps)
        if isinstance(reader, FrameFolderReader) and fps is None:
            times = times * UNTIMED_FPS / _USUAL_FPS
        wanted = np.arange(0.0, min(float(times[-1]), MAX_SECONDS) + 1e-3, 1 / PICTURES_PER_SECOND)
        indices = (np.searchsorted(times, wanted + 1e-3, side="right") - 1).tolist()
        if isinstance(reader, VideoReader):
            window = CropWindow(box=(0, 0, reader.height, reader.width), size=(SIZE, SIZE))
            pixels = reader.frames_at(indices, window).pixels
        else:
            starts = range(0, len(indices), _READ_AT_ONCE)
            read = (reader.frames_at(indices[at : at + _READ_AT_ONCE]).pixels.float() for at in starts)
            pixels = torch.cat([functional.interpolate(part, (SIZE, SIZE), mode="area") for part in read])
    return of_pictures(pixels.float().mean(dim=1).numpy())


def of_pictures(gray: Float[np.ndarray, "T S S"] | UInt8[np.ndarray, "T S S"]) -> Fingerprint:
    """The fingerprint of gray pictures. A picture without structure becomes zeros, which are like nothing."""
    pictures = torch.from_numpy(np.asarray(gray, dtype=np.float32))[:, None]
    pad = _SURROUNDINGS // 2
    around = functional.avg_pool2d(pictures, _SURROUNDINGS, stride=1, padding=pad, count_include_pad=False)
    fine = (pictures - around).flatten(1)
    fine = fine - fine.mean(dim=1, keepdim=True)
    length = fine.norm(dim=1, keepdim=True)
    return (fine / length.clamp(min=1e-6) * (length > SIZE)).numpy()  # below one gray level on average


class Shelf:
    """The fingerprints of many clips, laid out for one product with all of them."""

    def __init__(self, clips: Sequence[Float[np.ndarray, "_ D"]]) -> None:
        self.lengths = np.array([len(clip) for clip in clips])  # N
        longest = int(self.lengths.max())
        self.pictures = np.zeros((longest, len(clips), SIZE * SIZE), dtype=np.float32)  # T N D
        for place, clip in enumerate(clips):
            self.pictures[: len(clip), place] = clip

    def likeness(self, clip: Fingerprint) -> Float[np.ndarray, " N"]:
        """The mean correlation of a clip with each of the shelf at the shift where it is highest, in [-1, 1]."""
        mirrored = clip.reshape(-1, SIZE, SIZE)[:, :, ::-1].reshape(len(clip), -1)
        return np.maximum(self._best(clip), self._best(mirrored))

    def _best(self, clip: Fingerprint) -> Float[np.ndarray, " N"]:
        step = _STEP if len(clip) >= 4 * _STEP else 1
        asked = clip[::step]
        num_asked, (longest, number, _) = len(asked), self.pictures.shape
        products = (asked @ self.pictures.reshape(-1, SIZE * SIZE).T).reshape(num_asked, longest, number)
        # Picture q of the clip lies at q * step; at shift l it meets picture q * step + l of the other.
        margin = (num_asked - 1) * step
        padded = np.zeros((num_asked, longest + 2 * margin, number), dtype=np.float32)
        padded[:, margin : margin + longest] = products
        row, time, place = padded.strides
        shape = (num_asked, longest + margin, number)
        at_shift = np.lib.stride_tricks.as_strided(padded, shape, (row + step * time, time, place))
        sums = at_shift.sum(axis=0)  # L N
        there = np.arange(longest + margin)[:, None] - margin + step * np.arange(num_asked)  # L Q
        counts = ((there[:, :, None] >= 0) & (there[:, :, None] < self.lengths)).sum(axis=1)  # L N
        needed = np.maximum(1, _OVERLAP * np.minimum(len(clip), self.lengths) / step)
        return np.where(counts >= needed, sums / np.maximum(counts, 1), -1.0).max(axis=0)
