"""A full decode of a video: one pass that reads every packet and decodes every frame in order, without seeks or skips.

``tubelet.data.scan`` compares files and the reader with it: how many frames the container promises, how many packets
it has, how many frames the decoder gives, and what they show. Frames are not converted to RGB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from tubelet.data.video.container import ByteRange, url_of
from tubelet.data.video.truncation import missing_bytes


def slack_seconds(promised: float) -> float:
    """By how much a stream may end before the seconds that its container promises."""
    return max(0.5, 0.02 * promised)


def counts_frames(format_names: Collection[str], *, is_whole: bool) -> bool:
    """Whether the header's number of frames is that of the pictures.

    AVI counts empty chunks too, which repeat the picture before. One that has all its bytes has all its pictures.
    """
    return not is_whole or "avi" not in format_names


@dataclass(frozen=True, kw_only=True)
class FullDecode:
    """What one pass found."""

    num_frames: int  # decoded frames, without those that the container discards
    num_damaged: int  # of these, with missing data as the decoder reports
    num_packets: int  # of the stream, with what the container discards
    promised_packets: int | None  # by the header; None if it holds no number
    promised_seconds: float | None  # by the header, of the longest stream
    reached_seconds: float  # end of the last packet of any stream
    error: str | None  # why the pass ended before the end of the file
    pictures: dict[int, bytes]  # ``digest`` of the frames with the numbers that were asked for
    content: str  # hash of the size and the first plane (luma) of every frame: the same after remuxing or renaming

    @property
    def shortfall(self) -> str | None:
        """In words, what is missing of what the header promises. None if nothing is missing."""
        if self.promised_packets is not None and self.num_packets < self.promised_packets:
            return f"{self.num_packets} of {self.promised_packets} promised frames are there"
        promised = self.promised_seconds or 0.0
        if self.reached_seconds < promised - slack_seconds(promised):
            return f"ends after {self.reached_seconds:.2f} of {promised:.2f} promised seconds"
        return None


def decode_fully(path: Path, part: ByteRange | None = None, pictures: Collection[int] = ()) -> FullDecode:
    """Decode all of a video file, or of a ``part`` of it. Errors are part of the result and are not raised.

    The result holds the digests of the frames with the numbers in ``pictures``.
    """
    counts, content, digests = _Counts(), hashlib.blake2b(digest_size=16), dict[int, bytes]()
    error = None
    try:
        with av.open(url_of(path, part), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise ValueError("no video stream")
            stream.codec_context.thread_count = 1
            counts.read_header(container, stream, is_whole=missing_bytes(path, part) == 0)
            for packet in container.demux():
                counts.add_packet(packet, stream)
                for frame in packet.decode() if packet.stream is stream else ():
                    if not isinstance(frame, av.VideoFrame):
                        continue
                    if counts.frames in pictures:
                        digests[counts.frames] = digest(frame)
                    counts.frames += 1
                    counts.damaged += bool(frame.is_corrupt)
                    content.update(f"{frame.width}x{frame.height}".encode() + next(picture_bytes(frame)))
    except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as problem:
        reason = problem.strerror if isinstance(problem, av.FFmpegError) else str(problem)
        error = " ".join(str(reason or type(problem).__name__).split())
    return FullDecode(
        num_frames=counts.frames,
        num_damaged=counts.damaged,
        num_packets=counts.packets,
        promised_packets=counts.promised_packets,
        promised_seconds=counts.promised_seconds,
        reached_seconds=max(0.0, counts.reached_seconds - counts.start_seconds),
        error=error,
        pictures=digests,
        content=content.hexdigest(),
    )


class _Counts:
    def __init__(self) -> None:
        self.frames = self.damaged = self.packets = 0
        self.promised_packets: int | None = None
        self.promised_seconds: float | None = None
        self.start_seconds = self.reached_seconds = 0.0

    def read_header(self, container: InputContainer, stream: VideoStream, *, is_whole: bool) -> None:
        if counts_frames(container.format.name.split(","), is_whole=is_whole):
            self.promised_packets = stream.frames or None
            if container.duration is not None:
                self.promised_seconds = container.duration / av.time_base
        self.start_seconds = (container.start_time or 0) / av.time_base

    def add_packet(self, packet: av.Packet, stream: VideoStream) -> None:
        if not packet.size:
            return  # the empty packet at the end, which drains the decoder
        self.packets += packet.stream is stream
        if packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.reached_seconds = max(self.reached_seconds, end)


def digest(frame: av.VideoFrame) -> bytes:
    """A hash of the decoded planes of a frame."""
    return hashlib.blake2b(b"".join(picture_bytes(frame)), digest_size=16).digest()


def picture_bytes(frame: av.VideoFrame) -> Iterator[bytes]:
    """The planes of a frame without the bytes that pad their lines, whose values are undefined."""
    components = frame.format.components
    for number, plane in enumerate(frame.planes):
        own = [component for component in components if component.plane == number]
        if not own:
            continue  # a palette
        bits = own[0].bits if len(own) == 1 else frame.format.padded_bits_per_pixel
        lines = np.frombuffer(plane, dtype=np.uint8)[: plane.height * plane.line_size].reshape(plane.height, -1)
        yield lines[:, : plane.width * ((bits + 7) // 8)].tobytes()
