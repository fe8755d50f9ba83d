"""Decodes packets from their known byte positions in a file, without opening the container.

Opening a container costs as much as decoding twenty frames of a small video, and a seek in it reads packets that are
not needed. If ``tubelet.data.video.packet_index`` has verified that the bytes at known positions are all that the
decoder needs, one read fetches the packets from a key frame to the last wanted frame. Frames that are neither wanted
nor needed by others are skipped, and the decoder is drained instead of reading further packets.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from jaxtyping import Shaped
from numpy.typing import NDArray

from tubelet.data.video.container import Decoded
from tubelet.data.video.formats import NO_SKIPPING

# One coded frame; P of them in decoding order; ``pts`` and ``dts`` in the stream's time base, NO_TIME where absent.
PACKET = np.dtype([("position", "<i8"), ("size", "<i4"), ("pts", "<i8"), ("dts", "<i8"), ("flags", "u1")])
KEY, DISCARDED = 1, 2  # flags: decoding may start here; decoded but not shown
NO_TIME = -(2**63)

COLORS = ("color_range", "color_primaries", "color_trc", "colorspace")
_GAPS = 2  # bytes read per byte wanted, up to which one read is better than one for each packet


@dataclass(frozen=True, kw_only=True)
class Codec:
    """The settings that a decoder needs before its first packet."""

    name: str  # of FFmpeg's decoder
    tag: str  # four letters with which some containers distinguish dialects
    extradata: bytes
    height: int  # pixels as stored
    width: int
    colors: tuple[int, ...]  # FFmpeg's numbers for range, primaries, transfer and matrix
    reorder_depth: int  # frames that the decoder holds back to sort them

    @classmethod
    def of(cls, stream: VideoStream) -> Codec:
        """The settings of an open stream."""
        context = stream.codec_context
        return cls(
            name=context.name,
            tag=context.codec_tag,
            extradata=context.extradata or b"",
            height=context.height,
            width=context.width,
            colors=tuple(int(getattr(context, name)) for name in COLORS),
            reorder_depth=context.reorder_depth,
        )

    def open(self) -> VideoCodecContext:
        """Open a new decoder with one thread."""
        context = av.CodecContext.create(self.name, "r")
        assert isinstance(context, VideoCodecContext)
        if self.extradata:
            context.extradata = self.extradata
        context.width, context.height = self.width, self.height
        if len(self.tag) == 4 and self.tag.isascii():
            context.codec_tag = self.tag
        for name, value in zip(COLORS, self.colors, strict=True):
            setattr(context, name, value)
        context.thread_count = 1
        context.reorder_depth = self.reorder_depth
        context.open()  # before skip_frame is set: AV1's decoder keeps the value it opens with
        return context


class PacketDecoder:
    """Decodes frames of one file from the byte positions of its packets.

    Args:
        path: the file.
        codec: the settings of its stream.
        packets: all packets of the stream (``PACKET``), each with a pts of its own.
    """

    def __init__(self, path: Path, codec: Codec, packets: Shaped[np.ndarray, " P"]) -> None:
        self._codec, self._packets = codec, packets
        self._file = path.open("rb", buffering=0)
        self._context = codec.open()
        self._rows = np.argsort(packets["pts"], kind="stable")
        self._pts = packets["pts"][self._rows]

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()

    def decode_from(self, key: int, needed: Container[int | None], wanted: NDArray[np.int64]) -> Iterator[Decoded]:
        """Decode frames in order, from the key frame with this pts at least to the last of the ``wanted`` pts.

        Each frame comes with a flag for damage, as in ``VideoContainer.decode_from``. Frames whose pts are not in
        ``needed`` may be skipped.
        """
        start, stop = int(self._row_of(key)), int(self._row_of(wanted).max()) + 1
        damaged, context, skipping = False, self._context, False
        may_skip = self._codec.name not in NO_SKIPPING
        try:
            for payload, pts, dts in self._read(start, stop):
                packet = av.Packet(payload)
                packet.pts, packet.dts = pts, None if dts == NO_TIME else dts
                if skipping != (may_skip and pts not in needed):
                    skipping = not skipping
                    context.skip_frame = "NONREF" if skipping else "DEFAULT"
                for frame in context.decode(packet):
                    damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                    yield frame, damaged
            context.skip_frame, skipping = "DEFAULT", False
            for frame in context.decode(None):
                damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                yield frame, damaged
        finally:
            context.skip_frame = "DEFAULT"
            context.flush_buffers()
            context.reorder_depth = self._codec.reorder_depth  # flushing may reset it

    def _row_of(self, pts: int | NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(self._rows[np.searchsorted(self._pts, pts)])

    def _read(self, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
        """Bytes, pts and dts of these packets. The bytes are fewer if the file has become shorter."""
        positions, sizes, pts, dts = (
            self._packets[name][start:stop].tolist() for name in ("position", "size", "pts", "dts")
        )
        first, end = min(positions), max(map(sum, zip(positions, sizes, strict=True)))
        if end - first <= _GAPS * sum(sizes):
            self._file.seek(first)
            content = self._file.read(end - first)
            ranges = zip(positions, sizes, strict=True)
            payloads = (content[position - first : position - first + size] for position, size in ranges)
        else:
            payloads = (self._read_one(position, size) for position, size in zip(positions, sizes, strict=True))
        return zip(payloads, pts, dts, strict=True)

    def _read_one(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        return self._file.read(size)
