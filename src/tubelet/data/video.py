"""One video file: the times of its shown frames, and exact frames by index or by time.

The only file of tubelet that knows a decoder: PyAV, whose wheel carries FFmpeg. One thread per reader; a loader
runs many. Colors go from YUV to RGB by swscale's defaults (bilinear chroma, the matrix and range the frame is
tagged with, BT.601 where untagged); alpha is dropped; pixel aspect ratios other than 1 are not undone.
Which frames a file shows is read from its packets without decoding (a *packet* holds one coded frame, its *pts* is
the presentation time in the stream's time base, at a *key* packet decoding may start). Where packets cannot be
trusted to tell, every frame is decoded once and counted: slower, and still exact.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tubelet.errors import VideoError
from tubelet.types import Frames

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"}
)

# The only containers whose packets and seeks are trusted, for they keep a time with every packet: these the
# presentation time, those the decoding time, which is the same without B-frames.
_STORE_PTS = frozenset({"flv", "matroska", "mov", "mpegts", "nut"})
_STORE_DTS = frozenset({"asf", "avi"})
_PROGRESSIVE = 1  # FFmpeg's field orders above it are interlaced: a packet may hold one field, half a frame
_READ_ON_FRAMES = 3  # decoding so few frames costs less than a seek
_ROUNDING_SECONDS = 1e-6  # far below the length of any frame

_Decoded = tuple[av.VideoFrame, bool]  # and whether it is damaged
_Fetched = tuple[int, av.VideoFrame, bool]  # index, frame, damaged


def is_video_path(path: str | Path) -> bool:
    """Whether the file name ends as video files do (``VIDEO_SUFFIXES``, any case). The file is not opened."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


class VideoReader:
    """Exact random access to the frames a video file shows.

    The best video stream is read, its display matrix (rotation, mirroring) is applied, and frames the container
    marks as discarded do not exist here. Use as a context manager, or call ``close``.

    Attributes:
        timestamps: float64 [N], presentation seconds of every shown frame, ascending, the first is 0.
        fps: shown frames per second, averaged over the file.
        duration_seconds: time until the last shown frame leaves the screen.

    Raises:
        VideoError: the file is missing, empty, cut short or no video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._scaler = VideoReformatter()
        self._container, self._stream = self._open()
        self._coded_size = self._stream.codec_context.width, self._stream.codec_context.height
        try:
            with self._reporting("read"):
                self._read_index()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Calling it again does nothing."""
        self._container.close()

    @property
    def height(self) -> int:
        """Pixels as shown, after rotation."""
        return self._shown_size[0]

    @property
    def width(self) -> int:
        """Pixels as shown, after rotation."""
        return self._shown_size[1]

    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The shown frames at these indices, RGB uint8 "T C H W", contiguous memory of their own.

        Indices may come in any order and repeat; each frame is decoded once.

        Raises:
            VideoError: no index, one outside 0..N-1, or a wanted frame is damaged or does not decode.
        """
        asked, last = np.array(indices, dtype=np.int64), len(self.timestamps) - 1
        if not len(asked) or asked.min() < 0 or asked.max() > last:
            raise VideoError(f"{self.path}: asked for frames {asked.tolist()}, expected some of 0 to {last}")
        missing = np.ones(len(asked), dtype=bool)
        with self._reporting("decode"):
            for index, frame, damaged in self._fetch(np.unique(asked)):
                if damaged:
                    raise self._error(f"the file is damaged at or before frame {index} of 0 to {last}")
                picture = self._picture(frame)
                if missing.all():
                    pixels = np.empty((len(asked), *picture.shape), dtype=np.uint8)
                pixels[asked == index] = picture
                missing[asked == index] = False
        if missing.any():
            raise self._error(f"the file is damaged: frame {asked[missing][0]} of 0 to {last} does not decode")
        return Frames(pixels=torch.from_numpy(pixels), seconds=tuple(self.timestamps[asked].tolist()))

    def frames_at_seconds(self, seconds: Sequence[float]) -> Frames:
        """The frames on screen at these times (seconds from the first shown frame), as ``frames_at`` gives them.

        Raises:
            VideoError: a time is outside [0, duration_seconds), or as ``frames_at``.
        """
        times, duration = np.array(seconds, dtype=np.float64), self.duration_seconds
        wrong = times[~((times >= 0) & (times < duration))]
        if len(wrong):
            raise VideoError(f"{self.path}: {wrong[0]:g} s was asked; ask for times from 0 to below {duration:.3f} s")
        on_screen = np.searchsorted(self.timestamps, times + _ROUNDING_SECONDS, side="right") - 1
        return self.frames_at(on_screen.tolist())

    def _open(self) -> tuple[InputContainer, VideoStream]:
        if not self.path.is_file():
            raise VideoError(f"{self.path}: there is no such file; check the path")
        if self.path.stat().st_size == 0:
            raise VideoError(f"{self.path}: the file is empty (0 bytes); replace it or leave it out")
        with self._reporting("open"):
            # "file:" keeps a name with a colon or a leading dash from being taken for a protocol or an option.
            container = av.open(f"file:{self.path}", metadata_errors="replace")
            stream = container.streams.best("video")
            cover = stream is not None and bool(stream.disposition & Disposition.attached_pic)
            if not isinstance(stream, VideoStream) or cover or stream.codec_context is None:
                others = ", ".join(sorted({s.type for s in container.streams if s is not stream}))
                raise self._error(f"expected a video stream, found only {others or 'a picture or an unknown codec'}")
            stream.codec_context.thread_count = 1
            stream.codec_context.open()  # before skip_frame is set: AV1's decoder would keep what it opens with
        return container, stream

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        """Turns a decoder's error into one line that names the file."""
        try:
            yield
        except (av.FFmpegError, IndexError) as error:
            # PyAV raises IndexError where a stream begins inside the file.
            reason = error.strerror if isinstance(error, av.FFmpegError) else "its streams change"
            raise self._error(f"expected a video, cannot {doing} the file ({reason})") from error

    def _error(self, what: str) -> VideoError:
        return VideoError(f"{self.path}: {what}; replace the file or leave it out")

    def _read_index(self) -> None:
        """One pass over the packets; where they cannot be trusted, one over the decoded frames."""
        coded = (p for p in self._container.demux(self._stream) if p.size)  # an empty one drains the decoder
        packets = [(p.pts, p.is_keyframe, p.is_discard, p.is_corrupt) for p in coded]
        size, incomplete = self.path.stat().st_size, any(corrupt for *_, corrupt in packets[-1:])
        if incomplete or any(entry.pos + entry.size > size for entry in self._stream.index_entries):
            raise self._error(f"the file is damaged or cut short: data ends early, at {size} bytes")
        keys = [pts for pts, is_key, _, _ in packets if is_key and pts is not None]
        shown = [pts for pts, _, discarded, _ in packets if not discarded]
        pts = sorted({pts for pts in shown if pts is not None})
        context, names = self._stream.codec_context, set(self._container.format.name.split(","))
        timed = bool(names & _STORE_PTS) or (bool(names & _STORE_DTS) and not context.has_b_frames)
        starts_at_key = [pts for pts, *_ in packets[:1]] == keys[:1] and keys[:1] <= pts[:1]
        if not timed or len(pts) < len(shown) or not starts_at_key or context.field_order > _PROGRESSIVE:
            shown = [frame.pts for frame, _ in self._decode_from(None)]
            pts = [pts for pts in shown if pts is not None]
        if not shown:
            raise self._error("the file is damaged: no frame decodes")
        self._keys, self._pts = np.unique(np.array(keys, dtype=np.int64)), np.array(pts, dtype=np.int64)
        # A frame that its pts does not tell from all others is found by counting from the first one.
        self._by_pts = timed and bool(keys) and len(pts) == len(shown) and bool(np.all(np.diff(self._pts) > 0))
        self._set_times(len(shown))

    def _set_times(self, count: int) -> None:
        """Timestamps, rate and duration of ``count`` frames from their pts; evenly spaced where some lack."""
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 1)
        base, ticks = self._stream.time_base, np.unique(self._pts)
        if base is None or len(ticks) < count:
            self.timestamps = np.arange(count) / rate
        else:
            # One division of whole numbers, so that a time such as 0.1 s equals the 0.1 a user writes.
            self.timestamps = (ticks - ticks[0]) * base.numerator / base.denominator
        last = float(self.timestamps[-1])
        self.fps = (count - 1) / last if last > 0 else rate
        self.duration_seconds = last + 1 / self.fps

    def _fetch(self, wanted: NDArray[np.int64]) -> Iterator[_Fetched]:
        """The frames at the wanted indices (ascending, unique)."""
        for key, group in self._groups(wanted) if self._by_pts else ():
            missing = dict(zip(self._pts[group].tolist(), group.tolist(), strict=True))
            yield from self._fetch_from(key, missing)
            if missing:  # seeking led astray: read from the first packet
                yield from self._fetch_from(None, missing)
            if missing:  # the packets' pts are not those of the frames: from now on, count
                count = sum(1 for _ in self._decode_from(None))
                if count != len(self.timestamps):
                    raise self._error(f"the file is damaged: {count} of {len(self.timestamps)} frames decode")
                self._by_pts = False
                break
        if not self._by_pts:
            for index, (frame, damaged) in enumerate(self._decode_from(None)):
                if index in wanted:
                    yield index, frame, damaged
                if index == wanted[-1]:
                    return

    def _groups(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
        """Splits ascending indices where a seek decodes less than reading on; each with its key frame's pts."""
        key = np.searchsorted(self._keys, self._pts[wanted], side="right") - 1  # the last at or before each
        shown_before_key = np.searchsorted(self._pts, self._keys)
        jump = key[1:] > key[:-1]
        jump[jump] = (shown_before_key[key[1:]] - wanted[:-1])[jump] > _READ_ON_FRAMES
        for group in np.split(np.arange(len(wanted)), np.flatnonzero(jump) + 1):
            first = key[group[0]]
            yield (int(self._keys[first]) if first >= 0 else None), wanted[group]

    def _fetch_from(self, key: int | None, missing: dict[int, int]) -> Iterator[_Fetched]:
        """Decodes on from a key frame; takes what it yields out of ``missing`` (pts to index)."""
        previous, last_wanted = -(2**63), max(missing)
        try:
            for frame, damaged in self._decode_from(key, missing):
                pts = frame.pts
                if pts is None or not previous < pts <= last_wanted or (damaged and key is not None):
                    return
                previous = pts
                if pts in missing:
                    yield missing.pop(pts), frame, damaged
                if not missing:
                    return
        except av.FFmpegError:
            if key is None:
                raise  # else the caller goes on from the first packet: some files cannot seek

    def _decode_from(self, key: int | None, needed: Container[int | None] | None = None) -> Iterator[_Decoded]:
        """Shown frames in order, from the key frame with this pts or, for None, from the file's first packet.

        Damaged is a frame that FFmpeg painted over, and any that may have been predicted from it. With ``needed``
        pts, the decoder may leave out any other frame that no frame depends on.
        """
        if key is None:
            self._container.close()
            self._container, self._stream = self._open()
        else:
            self._container.seek(key, stream=self._stream)
        landed, damaged = key is None, False
        for packet in self._container.demux(self._stream):
            if not landed and packet.is_keyframe:
                if key is None or packet.pts not in self._keys[self._keys <= key]:
                    return  # the seek came out behind the key frame, or times are guessed anew after a seek
                landed = True
            if landed:
                skip = needed is not None and packet.pts not in needed
                self._stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
                for frame in packet.decode():
                    damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                    yield frame, damaged

    def _picture(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """RGB "C H W" as shown. Where a stream changes its size, every frame is scaled to the first size."""
        width, height = self._coded_size
        rgb = self._scaler.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        return _as_shown(rgb, frame).transpose(2, 0, 1)

    @cached_property
    def _shown_size(self) -> tuple[int, int]:
        height, width = self.frames_at([0]).pixels.shape[2:]  # the display matrix comes with a frame
        return height, width


def _as_shown(rgb: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The stored picture "H W C" turned and mirrored as the frame's display matrix says; a view.

    The matrix sends a pixel to x' = a x + c y, y' = b x + d y; it is rounded to a multiple of 90 degrees.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return rgb
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
