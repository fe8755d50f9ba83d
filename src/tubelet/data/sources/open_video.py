"""``tubelet.open_video``: the reader that everything inside uses, with the methods that are kept stable.

N  frames of the source        T  frames asked for        C  channels        H, W  pixels
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray

from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.sources.python_input import path_of
from tubelet.data.video.frame_times import frames_at_times
from tubelet.data.video.info import VideoInfo
from tubelet.errors import DataError, VideoError
from tubelet.protocol import Protocol
from tubelet.types import Frames


class Video:
    """An opened video, frame folder or volume. ``open_video`` makes it; leaving its context closes it.

    Frames are exact: a frame has the same pixels whether it is asked alone, beside others, in any order, by index, by
    time or in a pass over all. They are RGB as shown (turned as the file says) and own their memory. Training,
    evaluation and prediction read through the same code.

    Not for several threads at once: each needs its own.

    Attributes:
        path: the file or folder.
        num_frames: N.
        seconds: the length, until the last frame leaves the screen.
        timestamps: seconds at which every frame appears, ascending, the first is 0.
    """

    def __init__(self, reader: Reader, path: Path, name: str) -> None:
        self._reader, self._name, self.path, self._is_open = reader, name, path, True
        self.num_frames, self.seconds = len(reader.timestamps), reader.duration_seconds
        self.timestamps: Float64[np.ndarray, " N"] = reader.timestamps

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._reader.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return self.num_frames

    def frames_at(self, indices: ArrayLike) -> Frames:
        """The frames at these indices: ``pixels``, a torch tensor uint8 "T C H W", ``seconds`` when each appears.

        Args:
            indices: whole numbers from 0 to N-1 in any order; they may repeat, and each frame is decoded once.

        Raises:
            VideoError: there is no index, one is no whole number or outside 0 to N-1, or a frame does not decode.
        """
        wanted = self._numbers(indices, "frame indices", "whole numbers", "iu")
        wrong = wanted[(wanted < 0) | (wanted >= self.num_frames)]
        if len(wrong):
            raise VideoError(f"{self._name}: there is no frame {wrong[0]}; ask for frames 0 to {self.num_frames - 1}")
        self._check_open()
        with naming_file(self.path, self._name):
            return self._reader.frames_at(wanted.astype(np.int64).tolist())

    def frames_at_seconds(self, times: ArrayLike) -> Frames:
        """The frames on screen at these times, as ``frames_at`` gives them.

        A frame is on screen from its own time until that of the next one.

        Args:
            times: seconds from the first frame on, from 0 to below ``seconds``.

        Raises:
            VideoError: there is no time, one is no number or outside of the video, or a frame does not decode.
        """
        asked = self._numbers(times, "times", "seconds", "iuf").astype(np.float64)
        wrong = asked[~((asked >= 0) & (asked < self.seconds))]
        if len(wrong):
            raise VideoError(
                f"{self._name}: nothing is on screen at {wrong[0]:g} s; ask for times from 0 to below "
                f"{self.seconds:.3f} s"
            )
        return self.frames_at(frames_at_times(self.timestamps, asked, "on_screen"))

    def __iter__(self) -> Iterator[Frames]:
        """Every frame from first to last, as ``frames_at`` gives one; a film of any length fits in memory.

        Each iteration has a decoder of its own: others, and ``frames_at``, may be called meanwhile.

        Raises:
            VideoError: a frame does not decode. Those before it have been given.
        """
        self._check_open()
        with naming_file(self.path, self._name), self._reader.reopened() as reader:
            for index, picture in reader.frames_in_order(range(self.num_frames)):
                self._reader.notes = tuple(dict.fromkeys((*self._reader.notes, *reader.notes)))
                yield Frames(pixels=torch.from_numpy(picture)[None], seconds=(float(self.timestamps[index]),))

    @property
    def info(self) -> VideoInfo:
        """Codec, bit depth, colors, rotation, rate, size, interlacing, and notes on what was read so far.

        Raises:
            VideoError: the first frame does not decode.
        """
        with naming_file(self.path, self._name):
            return self._reader.info

    def _check_open(self) -> None:
        if not self._is_open:
            raise VideoError(f"{self._name}: is closed; read frames inside of `with open_video(...)`")

    def _numbers(self, asked: ArrayLike, what: str, expected: str, kinds: str) -> NDArray[Any]:
        numbers = np.asarray(asked)
        if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in kinds:
            found = "nothing" if numbers.size == 0 else repr(asked)[:80]
            raise VideoError(f"{self._name}: got {found} for {what}; expected a list of {expected}")
        return numbers


def open_video(
    path: str | os.PathLike[str],
    *,
    entry: str | None = None,
    fps: float | None = None,
    protocol: Protocol | None = None,
) -> Video:
    """Open a video file, a frame folder or a volume.

    ::

        with tubelet.open_video("clip.mp4") as video:
            frames = video.frames_at_seconds([0.5, 1.0]).pixels  # uint8, 2 x 3 x H x W
            for frame in video:
                ...

    Nothing is written; the packets of a video are read once to know its frames.

    Args:
        path: the file or folder.
        entry: the address of one sample in a file that holds many, as a manifest has it: ``train_images[17]`` of an
            ``.npz`` file, ``a.mp4@512+9000`` of a tar shard.
        fps: frames per second of a frame folder. None means that its frame numbers stand for seconds.
        protocol: how HDR, interlaced and 16-bit pictures and volumes become RGB; that of a checkpoint shows what its
            model sees. None means a new protocol.

    Raises:
        VideoError: the source is missing, cut short or cannot be decoded.
        DataError: the source cannot be read as asked.
    """
    file = path_of(path)
    if file is None:
        raise DataError(f"{path!r} is a {type(path).__name__}; expected the path of a video")
    name = f"{file}:{entry}" if entry else str(file)
    with naming_file(file, name):
        return Video(open_source(file, entry, protocol or Protocol(), fps), file, name)
