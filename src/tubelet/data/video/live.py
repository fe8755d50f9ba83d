"""Live sources: frames of a pipe, a network address or a camera, which may have no end and cannot seek.

``tubelet.data.video.live_clock`` gives frames their times.

FFmpeg (in PyAV's wheel) opens the source by its name. HTTP connections that break resume at the same byte; RTSP runs
over TCP.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.video.live_clock import Clock, LiveClock
from tubelet.data.video.rendering import BY_DEFAULT, Rendering
from tubelet.data.video.scaling import Orientation, Scaler
from tubelet.errors import VideoError

# FFmpeg options for each kind of address.
_HTTP = {"reconnect": "1", "reconnect_on_network_error": "1", "reconnect_delay_max": "2"}
_RTSP = {"rtsp_transport": "tcp"}
REAL_TIME = ("rtsp://", "rtsps://", "rtmp://", "udp://", "rtp://", "srt://", "/dev/video")


def is_real_time(source: str) -> bool:
    """Whether the source sends frames at its own pace, even if they are not read."""
    return source.startswith(REAL_TIME)


@dataclass(frozen=True, kw_only=True)
class LiveFrame:
    """A frame with its time. ``picture`` makes its pixels: RGB as shown, in memory of its own."""

    seconds: float  # from the first frame of its clock
    number: int  # in the connection, from 0; frames that were left out count too
    clock: Clock  # another one from where the source's times jump
    came: float  # when it was decoded, in seconds of the monotonic clock
    picture: Callable[[], UInt8[Tensor, "C H W"]]


class LiveSource:
    """One connection to a source.

    Args:
        source: "-" for standard input, an address (http, https, rtsp, udp ...), a device or a file.
        input_format: FFmpeg's name of the format if the source does not show it, for example v4l2 for a camera.
        rendering: how HDR and interlaced frames become pictures.
        timeout_seconds: opening or reading fails after so long without a byte. A pipe may stay silent for any time.

    Attributes:
        fps: frames per second as the source states. None if it does not.
        damaged: number of damaged frames, which are left out.
        disordered: number of frames that are left out because their time is not later than that of the one before.
        notes: what the user should know of the frames whose pictures were made, as ``VideoReader.notes``.
        has_end: whether the source ends by itself. None if that is unknown: an HTTP response without a length may come
            from a camera or a recording, and FFmpeg takes a chunked response that breaks off for one that ends.
        is_stored: whether it is a file, in which a pause means that the picture stands still and not that it was lost.

    Raises:
        VideoError: the source cannot be opened, or has no video.
    """

    def __init__(
        self,
        source: str,
        *,
        input_format: str | None = None,
        timeout_seconds: float = 10.0,
        rendering: Rendering = BY_DEFAULT,
    ) -> None:
        self.source, self.rendering = source, rendering
        self.damaged = self.disordered = self._num_seen = 0
        self.notes: tuple[str, ...] = ()
        options = dict(_RTSP) if source.startswith("rtsp") else dict(_HTTP) if source.startswith("http") else {}
        if source.startswith("http"):
            options["timeout"] = str(int(timeout_seconds * 1e6))
        arguments: dict[str, Any] = {"options": options, "metadata_errors": "replace", "format": input_format}
        if source != "-":
            arguments["timeout"] = (timeout_seconds, timeout_seconds)
        try:
            self._container: InputContainer = av.open("pipe:0" if source == "-" else source, **arguments)
            stream = self._container.streams.best("video")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error("cannot be opened", error) from None
        if not isinstance(stream, VideoStream):
            self._container.close()
            raise VideoError(f"{source}: has no video stream; check the address")
        self._stream = stream
        stream.codec_context.thread_count = 1
        self.fps = float(stream.average_rate) if stream.average_rate else None
        self.has_end = self._has_end()
        self.is_stored = source != "-" and Path(source).is_file()

    def _has_end(self) -> bool | None:
        if is_real_time(self.source):
            return False
        if not self.source.startswith("http") or self._container.duration is not None:
            return True
        return True if self._container.size > 0 and self._container.format.name != "hls" else None

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        self._container.close()

    def frames(self) -> Iterator[LiveFrame]:
        """Yield frames in order until the source ends. Damaged and disordered ones are counted and left out.

        Raises:
            VideoError: the connection breaks or stays silent.
        """
        times = LiveClock(self._stream, is_real_time=self.has_end is False)
        try:
            for packet in self._container.demux(self._stream):
                for frame in self._decoded(packet, times):
                    self._num_seen += 1
                    clock, seconds = times.seconds_of(frame)
                    if seconds is None:
                        self.damaged += frame.is_corrupt
                        self.disordered += not frame.is_corrupt
                        continue
                    yield LiveFrame(
                        seconds=seconds,
                        number=self._num_seen - 1,
                        clock=clock,
                        came=time.monotonic(),
                        picture=partial(self._picture, frame),
                    )
        except (av.FFmpegError, OSError) as error:
            if self.has_end is None and error.errno == errno.EIO and self._num_seen:
                return  # FFmpeg reports the end of a response without a length in this way
            raise self._error("broke off", error) from None

    def _decoded(self, packet: av.Packet[VideoStream], times: LiveClock) -> list[av.VideoFrame]:
        """The frames that the decoder gives for a packet. A packet that it refuses counts as a damaged frame."""
        context, frames = self._stream.codec_context, list[av.VideoFrame]()
        try:
            if packet.size and times.starts_anew(packet) and packet.is_keyframe:
                frames += context.decode(None)  # the decoder would drop them where the size changes
                context.flush_buffers()
            frames += packet.decode()
        except av.InvalidDataError:
            self.damaged += 1
            self._num_seen += 1
        return frames

    def _picture(self, frame: av.VideoFrame) -> UInt8[Tensor, "C H W"]:
        size = frame.height, frame.width
        self.notes = tuple(dict.fromkeys((*self.notes, *self.rendering.notes(frame))))
        scaler, orientation = Scaler(size, None, tone_map=self.rendering.maps_hdr), Orientation.of(frame)
        pixels = np.empty((3, *scaler.size(orientation)), dtype=np.uint8)
        try:
            scaler.write(self.rendering.whole(frame), orientation, pixels)
        except (av.FFmpegError, ValueError) as error:
            raise self._error("has a frame that cannot be converted", error) from None
        return torch.from_numpy(pixels)

    def _error(self, what: str, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or str(error)  # FFmpeg's words, without its number and the address
        return VideoError(f"{self.source}: {what} ({reason})")
