"""Reads a video file: the times of its shown frames, and exact frames by index.

``tubelet.open_video`` is its public form. PyAV decodes; its wheel brings FFmpeg. The reader stands on ``packet_index``
(which frames a file shows and where its packets lie), ``packet_decoder`` (frames straight from those packets),
``container`` (frames through the container, if packets cannot be read that way) and ``scaling`` (cropped and scaled RGB
planes). Each reader has one thread; a loader runs many readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from tubelet.data.video.container import ByteRange, Decoded, VideoContainer, file_error, reporting
from tubelet.data.video.deinterlace import is_interlaced
from tubelet.data.video.full_decode import digest
from tubelet.data.video.info import VideoInfo
from tubelet.data.video.packet_decoder import DISCARDED, PacketDecoder
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.rendering import BY_DEFAULT, Rendering
from tubelet.data.video.scaling import CropWindow, Orientation, Scaler
from tubelet.errors import VideoError
from tubelet.types import Frames

_READ_ON_FRAMES = 3  # decoding so few frames costs less than starting at a key frame

_Fetched = tuple[int, av.VideoFrame, bool]  # index, frame, damaged


class VideoReader:
    """Exact random access to the frames a video file shows.

    It reads the best video stream, applies its display matrix (rotation, mirroring), and leaves out frames that the
    container marks as discarded. Use it as a context manager, or call ``close``.

    Args:
        path: the file.
        index: an index of the file that was made earlier. If the file has changed since, a new one is made.
        part: the bytes of the file that hold the video. None means the whole file.
        rendering: how HDR and interlaced frames become pictures.

    Attributes:
        path: the file.
        part: the bytes of the file that hold the video. None means the whole file.
        timestamps: float64 [N], presentation seconds of every shown frame, ascending, the first is 0.
        fps: shown frames per second, averaged over the file.
        duration_seconds: time until the last shown frame leaves the screen.
        notes: what the user should know of the frames read so far, one line each, the same words for the same thing in
            every file.

    Raises:
        VideoError: the file is missing, empty, cut short or no video.
    """

    def __init__(
        self,
        path: str | Path,
        index: PacketIndex | None = None,
        part: ByteRange | None = None,
        rendering: Rendering = BY_DEFAULT,
    ) -> None:
        self.path, self.part, self.rendering = Path(path), part, rendering
        self.index = index if index is not None and index.fits(self.path) else PacketIndex.of(self.path, part)
        self.timestamps, self.fps = self.index.timestamps, self.index.fps
        self.duration_seconds = float(self.timestamps[-1]) + 1 / self.fps
        self.notes = self.index.notes
        # Frames that do not tell their packets are found by counting from the first one.
        self._by_row = len(self.index.rows) > 0
        self._index_of = np.full(len(self.index.packets), -1)  # the frame of each packet
        self._index_of[self.index.rows] = np.arange(len(self.index.rows))
        self._container: VideoContainer | None = None
        self._decoder: PacketDecoder | None = None
        self._scaler = Scaler(self._coded_size, None, tone_map=rendering.maps_hdr)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        for opened in (self._container, self._decoder):
            if opened is not None:
                opened.close()

    @property
    def height(self) -> int:
        """Pixels as shown, after rotation."""
        return self._shown_size[0]

    @property
    def width(self) -> int:
        """Pixels as shown, after rotation."""
        return self._shown_size[1]

    @property
    def info(self) -> VideoInfo:
        """What the file says of its pictures. The first frame is decoded for it. Raises VideoError."""
        with reporting(self.path, "decode"):
            frame = next((frame for _, frame, _ in self._fetch(np.zeros(1, dtype=np.int64))), None)
        if frame is None:
            raise file_error(self.path, "the file is damaged: frame 0 does not decode")
        self._note(frame)
        interlaced = is_interlaced(frame, *self._stream)
        return VideoInfo.of(self.index, frame, is_interlaced=interlaced, notes=self.notes)

    def reopened(self) -> VideoReader:
        """Another reader of the same frames, with a decoder of its own."""
        return VideoReader(self.path, self.index, self.part, self.rendering)

    def frames_at(self, indices: Sequence[int], window: CropWindow | None = None) -> Frames:
        """The shown frames at these indices, RGB uint8 "T C H W", contiguous memory of their own.

        Indices may come in any order and repeat; each frame is decoded once, and no other is converted.

        Args:
            indices: from 0 to N-1.
            window: the part of each frame, and the size it is scaled to. None means whole frames, unscaled.

        Raises:
            VideoError: no index, one outside 0..N-1, or a wanted frame is damaged or does not decode.
            ValueError: the window is empty or leaves the frame.
        """
        asked, last = np.array(indices, dtype=np.int64), len(self.timestamps) - 1
        if not len(asked) or asked.min() < 0 or asked.max() > last:
            raise VideoError(f"{self.path}: asked for frames {asked.tolist()}, expected some of 0 to {last}")
        if window != self._scaler.window:
            self._scaler = Scaler(self._coded_size, window, tone_map=self.rendering.maps_hdr)
        unique, first_rows, row_of = np.unique(asked, return_index=True, return_inverse=True)
        rows = dict(zip(unique.tolist(), first_rows.tolist(), strict=True))
        missing, pixels = set(rows), None
        with reporting(self.path, "decode"):
            for index, frame, damaged in self._fetch(unique):
                if damaged:
                    raise file_error(self.path, f"the file is damaged at or before frame {index} of 0 to {last}")
                orientation = self.index.orientation or Orientation.of(frame)
                if pixels is None:
                    pixels = np.empty((len(asked), 3, *self._scaler.size(orientation)), dtype=np.uint8)
                frame = self._whole(frame)
                self._scaler.write(frame, orientation, pixels[rows[index]])  # a second time if the first was wrong
                missing.discard(index)
        if pixels is None or missing:
            gone = min(missing)
            raise file_error(self.path, f"the file is damaged: frame {gone} of 0 to {last} does not decode")
        for row, source in enumerate(first_rows[row_of].tolist()):
            if row != source:
                pixels[row] = pixels[source]
        return Frames(pixels=torch.from_numpy(pixels), seconds=tuple(self.timestamps[asked].tolist()))

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Index and RGB picture "C H W" of each frame, one at a time, so that a film of any length fits in memory.

        ``indices`` ascend without repeating. Raises VideoError as ``frames_at`` does, when it gets there.
        """
        wanted = np.array(indices, dtype=np.int64)
        keys = self.index.keys
        own = keys["start"] == np.arange(len(keys))  # the others are decoded with the group before
        group = np.searchsorted(keys["shown"][own], wanted, side="right")
        scaler = Scaler(self._coded_size, None, tone_map=self.rendering.maps_hdr)
        for part in np.split(wanted, np.flatnonzero(np.diff(group)) + 1) if len(wanted) else ():
            missing = set(part.tolist())
            with reporting(self.path, "decode"):
                for index, frame, damaged in self._fetch(part):
                    if damaged:
                        raise file_error(self.path, f"the file is damaged at or before frame {index}")
                    orientation = self.index.orientation or Orientation.of(frame)
                    picture = np.empty((3, *scaler.size(orientation)), dtype=np.uint8)
                    scaler.write(self._whole(frame), orientation, picture)
                    missing.discard(index)
                    yield index, picture
            if missing:
                raise file_error(self.path, f"the file is damaged: frame {min(missing)} does not decode")

    def decode_only(self, indices: Sequence[int]) -> int:
        """Decode what ``frames_at`` decodes, without converting it, for benchmarks. Returns the number of frames.

        Raises:
            VideoError: a frame does not decode.
        """
        with reporting(self.path, "decode"):
            return sum(1 for _ in self._fetch(np.unique(np.array(indices, dtype=np.int64))))

    def _whole(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame, or a new one of its upper field."""
        self._note(frame)
        return self.rendering.whole(frame, *self._stream)

    def _note(self, frame: av.VideoFrame) -> None:
        self.notes = tuple(dict.fromkeys((*self.notes, *self.rendering.notes(frame, *self._stream))))

    @property
    def _stream(self) -> tuple[str, int]:
        """Codec and field order, as ``is_interlaced`` takes them."""
        opened = self._container
        return self.index.codec.name, 0 if opened is None else int(opened.stream.codec_context.field_order)

    @property
    def _coded_size(self) -> tuple[int, int]:
        return self.index.codec.height, self.index.codec.width

    @cached_property
    def _shown_size(self) -> tuple[int, int]:
        if self.index.shown_size is not None:
            return self.index.shown_size
        height, width = self.frames_at([0]).pixels.shape[2:]  # the display matrix comes with a frame
        return height, width

    def digests(self, indices: Sequence[int]) -> dict[int, bytes]:
        """A hash of the decoded planes of each frame, by its index, to compare with ``decode_fully``.

        Raises:
            VideoError: a frame does not decode.
        """
        found = dict[int, bytes]()
        with reporting(self.path, "decode"):
            for index, frame, _ in self._fetch(np.unique(np.array(indices))):
                self._note(frame)
                found[index] = digest(frame)
        return found

    def _fetch(self, wanted: NDArray[np.int64]) -> Iterator[_Fetched]:
        """The frames at the wanted indices (ascending, unique)."""
        for start, group in self._groups(wanted) if self._by_row else ():
            missing = dict(zip(self.index.rows[group].tolist(), group.tolist(), strict=True))
            yield from self._fetch_from(start, missing)
            if missing and start is not None:  # the seek gave other frames: read from the first packet
                yield from self._fetch_from(None, missing)
            if missing:  # the packets are not those of the frames: count frames from now on
                count = sum(1 for _ in self._decode_from(None))
                if count < len(self.timestamps):  # more where the last are incomplete
                    raise file_error(self.path, f"the file is damaged: {count} of {len(self.timestamps)} frames decode")
                self._by_row = False
                break
        if not self._by_row:
            for index, (frame, damaged) in enumerate(self._decode_from(None)):
                if index in wanted:
                    yield index, frame, damaged
                if index == wanted[-1]:
                    return

    def _groups(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
        """Split ascending indices where a seek saves decoding. Each group comes with the row to decode from.

        None is the file's first packet, which is no key packet.
        """
        keys = self.index.keys
        own = np.searchsorted(keys["shown"], wanted, side="right") - 1  # the key of its group; -1: there is none
        start = np.append(keys["start"], -1)[own]
        shown = np.append(keys["shown"], 0)[start]
        jump = (start[1:] > start[:-1]) & (shown[1:] - wanted[:-1] > _READ_ON_FRAMES)
        for group in np.split(np.arange(len(wanted)), np.flatnonzero(jump) + 1):
            first = int(start[group[0]])
            yield (int(keys["row"][first]) if first >= 0 else None), wanted[group]

    def _fetch_from(self, start: int | None, missing: dict[int, int]) -> Iterator[_Fetched]:
        """Decode from the packet of a row on. Each frame it yields is removed from ``missing`` (row to index)."""
        previous, last_wanted = -1, max(missing.values())
        try:
            for frame, damaged in self._decode_from(start, missing):
                index = -1 if frame.pts is None else int(self._index_of[frame.pts])
                if index < 0:
                    continue
                if not previous < index <= last_wanted or (damaged and start is not None):
                    return
                previous = index
                if frame.pts in missing:
                    yield missing.pop(frame.pts), frame, damaged
                if not missing:
                    return
        except av.FFmpegError:
            if start is None:
                raise  # otherwise the caller reads from the first packet, because some files cannot seek

    def _decode_from(self, start: int | None, needed: dict[int, int] | None = None) -> Iterator[Decoded]:
        """Frames from the packet of a row on, straight from the packets if the index has their positions."""
        packets = self.index.packets
        if start is not None and needed and self.index.is_direct:
            if self._decoder is None:
                self._decoder = PacketDecoder(self.path, self.index.codec, packets)
            return self._decoder.decode_from(start, max(needed) + 1, needed)
        if self._container is None:
            self._container = VideoContainer(self.path, self.part)
        # Where a frame has two packets, one for each field, neither may be skipped.
        one_packet_each = len(self.index.rows) == np.sum(packets["flags"] & DISCARDED == 0)
        return self._container.decode_from(packets, start or 0, needed if one_packet_each else None)
