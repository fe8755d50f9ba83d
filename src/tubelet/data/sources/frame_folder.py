"""Frame folders: a video as a folder of pictures, one per frame, read with the methods of ``VideoReader``.

The number at the end of a picture's name is its frame number. It orders the pictures and gives their times, so a gap
in the numbers is a frame that stays longer on screen. Where a folder holds several series (``img_00001.jpg``
beside ``flow_x_00001.jpg``, as mmaction2 lays them out), the one called img, image or frame is the video. Pictures
are decoded by Pillow to RGB, turned as their EXIF tag says; all have the size of the first. Pillow has no type for
colors of 16 bits and clips gray ones, so those come from ``tubelet.data.sources.deep_picture``.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from tubelet.data.sources.deep_picture import FULL_RANGE, deep_codec, deep_notes, read_deep
from tubelet.data.sources.value_window import ValueWindow, windowed
from tubelet.data.video.info import VideoInfo
from tubelet.errors import VideoError, reason
from tubelet.types import Frames

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
_VIDEO_SERIES = ("img", "image", "frame")  # what the pictures of the video are called, beside those of optical flow
UNTIMED_FPS = 1.0  # if the rate is unknown, frame numbers stand for seconds
# What Pillow raises. The warning comes above 89 million pixels, before they are decoded: a file of some KB may claim
# to hold more than memory does.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class FrameFolderReader:
    """Exact random access to the pictures of a frame folder.

    Attributes:
        timestamps: float64 [N], seconds of every frame, ascending, the first is 0.
        fps: frames per second as given, or 1.0 if unknown, so that frame numbers stand for seconds.
        duration_seconds: time until the last frame leaves the screen.
        notes: as ``VideoReader.notes``.

    Args:
        path: the folder.
        fps: frames per second. None means unknown.
        window: the values of 16-bit pictures that become 0 and 255. None means that Pillow converts them: it keeps the
            high byte of colors and clips gray at 255.

    Raises:
        VideoError: no pictures, pictures without numbers, or several series that could be the video.
    """

    def __init__(self, path: str | Path, fps: float | None = None, window: ValueWindow | None = FULL_RANGE) -> None:
        self.path, self._window = Path(path), window
        numbered = frame_files(self.path)
        self._files = [self.path / name for _, name in numbered]
        self.fps = fps or UNTIMED_FPS
        numbers = np.array([number for number, _ in numbered], dtype=np.int64)
        self.timestamps = (numbers - numbers[0]) / self.fps
        self.duration_seconds = float(self.timestamps[-1]) + 1 / self.fps
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> FrameFolderReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def height(self) -> int:
        """Pixels of the first picture."""
        return int(self._first.shape[1])

    @property
    def width(self) -> int:
        """Pixels of the first picture."""
        return int(self._first.shape[2])

    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The frames at these indices, RGB uint8 "T C H W"; any order, repeats allowed, each decoded once.

        Raises:
            VideoError: no index, one outside 0..N-1, or a picture that cannot be decoded or has another size.
        """
        last = len(self._files) - 1
        if not len(indices) or min(indices) < 0 or max(indices) > last:
            raise VideoError(f"{self.path}: asked for frames {list(indices)}, expected some of 0 to {last}")
        decoded = {index: self._first if index == 0 else self._decode(index) for index in set(indices)}
        for index, picture in decoded.items():
            if picture.shape != self._first.shape:
                raise VideoError(
                    f"{self._files[index]}: has {picture.shape[2]}x{picture.shape[1]} pixels, the first frame "
                    f"{self.width}x{self.height}; all frames of a video need one size"
                )
        seconds = tuple(float(self.timestamps[index]) for index in indices)
        return Frames(pixels=torch.stack([decoded[index] for index in indices]), seconds=seconds)

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """As ``VideoReader.frames_in_order``."""
        for index in indices:
            yield index, self.frames_at([index]).pixels[0].numpy()

    def reopened(self) -> FrameFolderReader:
        """As ``VideoReader.reopened``; every picture is opened by itself."""
        return self

    @property
    def info(self) -> VideoInfo:
        """As ``VideoReader.info``, of the first picture."""
        height, width, file = self.height, self.width, self._files[0]
        kind, depth = file.suffix[1:].lower(), 8 if deep_codec(file) is None else 16
        return VideoInfo.of_pictures(kind, depth, height, width, self.fps, self.notes)

    @cached_property
    def _first(self) -> UInt8[Tensor, "C H W"]:
        return self._decode(0)

    def _decode(self, index: int) -> UInt8[Tensor, "C H W"]:
        file = self._files[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                deep = None if self._window is None else read_deep(file)
                if deep is not None and self._window is not None:
                    self.notes = tuple(dict.fromkeys((*self.notes, *deep_notes(deep, self._window))))
                    return torch.from_numpy(windowed(deep, self._window, str(file))).permute(2, 0, 1).contiguous()
                with Image.open(file) as image:
                    picture = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except _UNREADABLE as error:
            raise VideoError(f"{file}: cannot be decoded as a picture ({reason(error)}); replace the file") from None
        return torch.from_numpy(picture).permute(2, 0, 1)


def frame_files(folder: Path) -> list[tuple[int, str]]:
    """(Frame number, file name) of the pictures of the video in a folder, ascending.

    Raises:
        VideoError: as ``FrameFolderReader``.
    """
    if not folder.is_dir():
        raise VideoError(f"{folder}: there is no such folder; expected one with a picture per frame")
    series: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for file in folder.iterdir():
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith("."):
            continue
        match = re.fullmatch(r"(.*?)(\d+)", file.stem)
        if match is None:
            raise VideoError(f"{file}: its name has no number at the end; frames are called such as img_00001.jpg")
        series[match[1]].append((int(match[2]), file.name))
    named = [name for name in series if name.lower().strip("_- ") in _VIDEO_SERIES]
    chosen = list(series) if len(series) == 1 else named
    if len(chosen) != 1:
        found = ", ".join(f"{name}*" for name in sorted(series)) or "no pictures"
        raise VideoError(f"{folder}: expected one series of pictures such as img_00001.jpg, found {found}")
    files = sorted(series[chosen[0]])
    numbers = [number for number, _ in files]
    if len(set(numbers)) < len(numbers):
        twice = next(name for (a, _), (b, name) in itertools.pairwise(files) if a == b)
        raise VideoError(f"{folder}: two pictures have the number of {twice}; keep one of them")
    return files
