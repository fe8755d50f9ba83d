"""Frames by torchcodec instead of PyAV: the extra ``torchcodec`` with FFmpeg's shared libraries beside it.

The same surface and the same frames as ``tubelet.data.video.reader``. What a file shows is found by PyAV in either case
(``tubelet.data.video.packet_index``); every frame that torchcodec gives is compared with that by its number, its size
and its time, and a file in which the two disagree is an error. torchcodec decodes and converts whole frames ("exact"
seeking, one thread); a window of them is cut out and resized by torchvision, bilinear with antialiasing.

Unscaled frames equal those of PyAV bit by bit where both have the same FFmpeg, but for interlaced and 10-bit video and
odd sizes with halved chroma, whose colors the two interpolate differently (``tests/data/torchcodec_cases.py``, with the
containers it does not read rightly). Scaled ones are 45.2 dB from them (``benchmarks/decode.py``, default colors),
because swscale resizes in another way than torchvision.

Deviation: torchcodec does not hand on that FFmpeg has painted over a damaged frame, which PyAV's reader refuses.
``tubelet data scan`` finds such files, and its quarantine list holds for both.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubelet.data.clips.transforms import Geometry, resize_frames
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import Window
from tubelet.errors import ConfigError, VideoError
from tubelet.types import Frames

_BYTES_AT_ONCE = 64 * 2**20  # of whole frames, before they are cut and resized; 24 frames of 720p
_SAME_SECONDS = 1e-6  # far below the length of any frame


def require_torchcodec() -> None:
    """Checks that torchcodec is installed and has found an FFmpeg.

    Raises:
        ConfigError: it is not, or has not.
    """
    try:
        torchcodec = importlib.import_module("torchcodec")
    except ImportError:
        raise ConfigError(
            "decoder=torchcodec: torchcodec is not installed; pip install 'tubelet[torchcodec]' and FFmpeg's shared "
            "libraries (a system package such as ffmpeg), or leave decoder at pyav, which needs neither"
        ) from None
    except RuntimeError:  # older releases load FFmpeg when they are imported
        found = None
    else:
        found = getattr(torchcodec, "ffmpeg_major_version", "not told")
    if found is None:
        raise ConfigError(
            "decoder=torchcodec: torchcodec is installed but does not load: it finds no FFmpeg that it can use, or was "
            "built for another torch; install FFmpeg's shared libraries (a system package such as ffmpeg) and the "
            "torchcodec that fits your torch, or leave decoder at pyav, which brings its own"
        )


class TorchcodecReader(VideoReader):
    """``VideoReader`` whose frames torchcodec decodes.

    Args:
        path: the file.
        index: what ``PacketIndex.of`` found earlier; made anew where the file has changed since.

    Raises:
        ConfigError: torchcodec or its FFmpeg is missing.
        VideoError: the file is missing, empty, cut short or no video.
    """

    def __init__(self, path: str | Path, index: PacketIndex | None = None) -> None:
        require_torchcodec()
        super().__init__(path, index)
        self._opened: Any = None  # torchcodec's decoder

    def close(self) -> None:
        """Closes the file. Calling it again does nothing."""
        super().close()
        self._opened = None

    def frames_at(self, indices: Sequence[int], window: Window | None = None) -> Frames:
        """As ``VideoReader.frames_at``."""
        asked, last = np.array(indices, dtype=np.int64), len(self.timestamps) - 1
        if not len(asked) or asked.min() < 0 or asked.max() > last:
            raise VideoError(f"{self.path}: asked for frames {asked.tolist()}, expected some of 0 to {last}")
        unique, row_of = np.unique(asked, return_inverse=True)
        parts = [_cut(frames, window) for _, frames in self._decoded(unique)]
        frames = parts[0] if len(parts) == 1 else torch.cat(parts)
        if len(unique) < len(asked) or not np.array_equal(unique, asked):
            frames = frames[torch.from_numpy(row_of)]
        return Frames(pixels=frames.contiguous(), seconds=tuple(self.timestamps[asked].tolist()))

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """As ``VideoReader.frames_in_order``; a few frames are decoded ahead."""
        for numbers, frames in self._decoded(np.array(indices, dtype=np.int64)):
            yield from zip(numbers.tolist(), frames.numpy(), strict=True)

    def decode_only(self, indices: Sequence[int]) -> int:
        """As ``VideoReader.decode_only``, but torchcodec converts the colors as well."""
        return sum(len(numbers) for numbers, _ in self._decoded(np.unique(np.array(indices, dtype=np.int64))))

    def _decoded(self, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Some of the wanted frames (ascending, unique) at a time: their indices, and whole frames "n C H W"."""
        at_once = max(1, _BYTES_AT_ONCE // (3 * self._coded_size[0] * self._coded_size[1]))
        decoder = self._decoder_of_all()
        for start in range(0, len(wanted), at_once):
            numbers = wanted[start : start + at_once]
            with self._reporting():
                batch = decoder.get_frames_at(numbers.tolist())
            shown = torch.from_numpy(self.timestamps[numbers])
            seconds = batch.pts_seconds - decoder.metadata.begin_stream_seconds
            apart = torch.nonzero((seconds - shown).abs() > _SAME_SECONDS).flatten()
            if len(apart):
                number, theirs, ours = (float(values[apart[0]]) for values in (numbers, seconds, shown))
                raise self._other(f"shows frame {number:g} at {theirs:.3f} s, PyAV at {ours:.3f} s")
            size = self.index.shown_size
            if size is not None and tuple(batch.data.shape[2:]) != size:
                raise self._other(f"gives frames of {tuple(batch.data.shape[2:])} pixels, PyAV of {size}")
            yield numbers, batch.data

    def _decoder_of_all(self) -> Any:
        if self._opened is None:
            video_decoder = importlib.import_module("torchcodec.decoders").VideoDecoder
            with self._reporting():
                # "file:" keeps a name with a colon from being taken for a protocol.
                self._opened = video_decoder(f"file:{self.path}", num_ffmpeg_threads=1, seek_mode="exact")
            if len(self._opened) != len(self.timestamps):
                raise self._other(f"shows {len(self._opened)} frames, PyAV {len(self.timestamps)}")
        return self._opened

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns torchcodec's error into one line that names the file."""
        try:
            yield
        except (RuntimeError, ValueError, IndexError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            reason = re.sub(r"^.*\.cpp:\d+, ", "", line)  # where in torchcodec's source it came up
            raise VideoError(
                f"{self.path}: torchcodec cannot decode the file ({reason}); where decoder=pyav cannot either, replace "
                "the file or leave it out"
            ) from error

    def _other(self, what: str) -> VideoError:
        return VideoError(f"{self.path}: torchcodec {what}; read this file with decoder=pyav")


def _cut(frames: Tensor, window: Window | None) -> Tensor:
    """The window of whole frames."""
    if window is None:
        return frames
    top, left, height, width = window.box
    if min(top, left, height - 1, width - 1) < 0 or top + height > frames.shape[2] or left + width > frames.shape[3]:
        raise ValueError(f"window {window.box} (top, left, height, width) is not inside a frame of {frames.shape[2:]}")
    return resize_frames(
        frames, Geometry(box=window.box, resized=window.size, crops=((0, 0),), crop_size=window.size)
    ).contiguous()
