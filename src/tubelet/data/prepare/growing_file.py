"""An MP4 that can be watched while it is written: fragments, each from a key frame to the next.

ISO/IEC 14496-12, movie fragments; FFmpeg's flags frag_keyframe, empty_moov and default_base_moof.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

_FLAGS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class GrowingFile:
    """Copies packets of an encoder into fragments. The file begins with the first packets.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> GrowingFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()

    def write(self, packets: Sequence[av.Packet], encoder: VideoStream) -> None:
        """Append packets that are muxed nowhere else (``copied``).

        Args:
            encoder: the stream that made them, in a container that has begun.
        """
        if not packets:
            return
        if self._container is None or self._stream is None:
            self._container = av.open(str(self._path), "w", format="mp4", options=_FLAGS)
            self._stream = self._container.add_stream_from_template(encoder, opaque=True)
        for packet in packets:
            packet.stream = self._stream
            self._container.mux(packet)


def copied(packet: av.Packet) -> av.Packet:
    """The same packet for another container: muxing changes a packet's times."""
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    return copy
