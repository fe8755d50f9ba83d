"""Opens a video file through its container: the best stream, its packets, and its frames.

Every file is opened here once. Files whose packets cannot be read straight from the file are also decoded here
(``tubelet.data.video.packet_index``). A *packet* holds one coded frame. Its *pts* is the presentation time in the
stream's time base, its *row* its number in the file, from 0. Decoding can start at a *key* packet. Each reader decodes
with one thread; many run side by side.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Shaped

from tubelet.data.video.formats import MAX_FRAME_PIXELS, NO_SKIPPING, PLAYLISTS, SEEK_BY_POSITION
from tubelet.errors import VideoError
from tubelet.files import lfs_pointer

Decoded = tuple[av.VideoFrame, bool]  # and whether it is damaged
ByteRange = tuple[int, int]  # of a file that holds others: offset of the first byte, number of bytes


def url_of(path: Path, part: ByteRange | None = None) -> str:
    """The address for FFmpeg of a file, or of the part of a file that holds a video."""
    url = f"file:{path}"  # else a name with a colon or a leading dash would be taken for a protocol or an option
    return url if part is None else f"subfile,,start,{part[0]},end,{sum(part)},,:{url}"


def file_error(path: Path, what: str) -> VideoError:
    """An error of one line that names the file and says what to do."""
    return VideoError(f"{path}: {what}; replace the file or leave it out")


@contextmanager
def reporting(path: Path, doing: str) -> Iterator[None]:
    """Turn an error of the decoder into one line that names the file."""
    try:
        yield
    except (av.FFmpegError, IndexError) as error:
        # PyAV raises IndexError where a stream begins inside the file.
        if (pointer := lfs_pointer(path)) is not None:
            raise VideoError(f"{path}: {pointer}") from error
        reason = error.strerror if isinstance(error, av.FFmpegError) else "its streams change"
        raise file_error(path, f"expected a video, cannot {doing} the file ({reason})") from error


class VideoContainer:
    """An open file and its best video stream.

    Args:
        path: the file.
        part: the bytes of the file that hold the video. None means the whole file.

    Raises:
        VideoError: the file is missing, empty or no video.
    """

    def __init__(self, path: Path, part: ByteRange | None = None) -> None:
        self.path, self.part = path, part
        self._container, self.stream = self._open()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._container.close()

    @property
    def format_names(self) -> set[str]:
        """FFmpeg's names of the container, for example mov and mp4."""
        return set(self._container.format.name.split(","))

    @property
    def header_seconds(self) -> float | None:
        """The length of the file by its header. None if it states none."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def is_alone(self) -> bool:
        """Whether the file has no other stream."""
        return len(self._container.streams) == 1

    @property
    def num_videos(self) -> int:
        """The number of its video streams, without still pictures such as covers."""
        return sum(not stream.disposition & Disposition.attached_pic for stream in self._container.streams.video)

    def packets(self) -> Iterator[av.Packet[VideoStream]]:
        """The stream's packets from the present position, without the empty one that drains the decoder."""
        return (packet for packet in self._container.demux(self.stream) if packet.size)

    def decode_from(
        self, packets: Shaped[np.ndarray, " P"], start: int, needed: Container[int] | None = None
    ) -> Iterator[Decoded]:
        """Decode shown frames in order, with a flag for damaged ones. The pts of a frame is the row of its packet.

        A frame is damaged if FFmpeg has painted over missing data, or if it may be predicted from such a frame.
        Decoding ends where the container gives other packets than expected, which some do after a seek.

        Args:
            packets: all packets of the stream (``PACKET``).
            start: row of the key packet to start from. 0 starts at the file's first packet.
            needed: rows of the frames that are needed. The decoder may skip other frames on which no frame depends.
        """
        damaged = False
        may_skip = needed is not None and self.stream.codec_context.name not in NO_SKIPPING
        for packet, row in self._numbered(packets, start):
            skip = may_skip and needed is not None and row not in needed
            self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
            for frame in packet.decode():
                damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                yield frame, damaged

    def _numbered(
        self, packets: Shaped[np.ndarray, " P"], start: int
    ) -> Iterator[tuple[av.Packet[VideoStream], int | None]]:
        """Packets from a row on with their rows as pts, and the empty packet at the end, which drains the decoder."""
        row, by_position = (0, False) if start == 0 else (-1, bool(self.format_names & SEEK_BY_POSITION))
        base = 0 if self.part is None else self.part[0]
        if start == 0:
            self.close()
            self._container, self.stream = self._open()
        elif by_position:
            self._container.seek(int(packets["position"][start]) - base, unsupported_byte_offset=True)
        else:
            self._container.seek(int(packets["pts"][start]), stream=self.stream)
        for packet in self._container.demux(self.stream):
            if not packet.size:
                if row >= 0:
                    yield packet, None
                continue
            if row < 0 and packet.is_keyframe:
                known, found = ("position", (packet.pos or 0) + base) if by_position else ("pts", packet.pts)
                landed = np.flatnonzero(packets[known][: start + 1] == found)
                row = int(landed[0]) if len(landed) == 1 else len(packets)
            if row >= 0:
                if row >= len(packets) or packet.size != packets["size"][row]:
                    return  # the seek went past the key packet, or the demuxer guesses other times after a seek
                packet.pts, packet.dts = row, None
                yield packet, row
                row += 1

    def _open(self) -> tuple[InputContainer, VideoStream]:
        if not self.path.is_file():
            if self.path.is_symlink():
                raise VideoError(f"{self.path}: is a link to {self.path.readlink()}, which is not there; mend it")
            raise VideoError(f"{self.path}: there is no such file; check the path")
        if (self.path.stat().st_size if self.part is None else self.part[1]) == 0:
            raise VideoError(f"{self.path}: the file is empty (0 bytes); replace it or leave it out")
        with reporting(self.path, "open"):
            container = av.open(url_of(self.path, self.part), metadata_errors="replace")
            if container.format.name in PLAYLISTS:
                container.close()
                raise file_error(self.path, "expected a video, found a list of other files")
            stream = container.streams.best("video")
            cover = stream is not None and bool(stream.disposition & Disposition.attached_pic)
            if not isinstance(stream, VideoStream) or cover or stream.codec_context is None:
                others = ", ".join(sorted({s.type for s in container.streams if s is not stream}))
                container.close()
                found = others or "a picture or an unknown codec"
                raise file_error(self.path, f"expected a video stream, found only {found}")
            height, width = stream.codec_context.height, stream.codec_context.width
            if height * width > MAX_FRAME_PIXELS:
                container.close()
                most = f"at most {MAX_FRAME_PIXELS / 1e6:.0f} million in a frame"
                raise file_error(self.path, f"its frames have {width}x{height} pixels, expected {most}")
            stream.codec_context.thread_count = 1
            stream.codec_context.open()  # before skip_frame is set: AV1's decoder keeps the value it opens with
        return container, stream


def container_seconds(path: Path) -> float | None:
    """The length of a video by its header, without reading packets. None if the header does not hold it.

    Raises:
        VideoError: the file cannot be opened.
    """
    with reporting(path, "open"), av.open(url_of(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if stream is not None and stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if container.duration is None else container.duration / av.time_base
