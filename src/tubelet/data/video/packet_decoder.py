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

from tubelet.data.video.container import Decoded
from tubelet.data.video.formats import NO_SKIPPING

# One coded frame; P of them in decoding order. Its bytes begin at ``position`` in the file; where they cannot be read
# straight from it, the container's packet does, or it is NO_TIME. ``pts`` in the stream's time base, NO_TIME if absent.
PACKET = np.dtype([("position", "<i8"), ("size", "<i4"), ("pts", "<i8"), ("flags", "u1")])
# Flags: decoding may start here; decoded but not shown; the container calls it a start, the stream does not.
KEY, DISCARDED, DOUBTFUL = 1, 2, 4
NO_TIME = -(2**63)

COLORS = ("color_range", "color_primaries", "color_trc", "colorspace")
_GAPS = 2  # bytes read per byte wanted, up to which one read is better than one for each packet
_PACKETS_AT_ONCE = 512  # read together: more than most groups have


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
        packets: all packets of the stream (``PACKET``).
    """

    def __init__(self, path: Path, codec: Codec, packets: Shaped[np.ndarray, " P"]) -> None:
        self._codec, self._packets = codec, packets
        self._file = path.open("rb", buffering=0)
        self._context = codec.open()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()

    def decode_from(self, start: int, stop: int, needed: Container[int] | None = None) -> Iterator[Decoded]:
        """Decode the frames of the packets ``start`` to ``stop`` - 1 in order. The pts of a frame is its packet's row.

        Each frame comes with a flag for damage, as in ``VideoContainer.decode_from``. Frames whose rows are not in
        ``needed`` may be skipped. None means that none is.
        """
        damaged, context, skipping = False, self._context, False
        may_skip = needed is not None and self._codec.name not in NO_SKIPPING
        try:
            for row, payload in enumerate(self._read(start, stop), start):
                packet = padded_packet(payload)
                packet.pts = row
                if skipping != (may_skip and needed is not None and row not in needed):
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

    def _read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of these packets; fewer if the file has become shorter."""
        for begin in range(start, stop, _PACKETS_AT_ONCE):
            rows = self._packets[begin : min(stop, begin + _PACKETS_AT_ONCE)]
            ranges = list(zip(rows["position"].tolist(), rows["size"].tolist(), strict=True))
            first, end = min(ranges)[0], max(map(sum, ranges))
            if end - first <= _GAPS * sum(size for _, size in ranges):
                self._file.seek(first)
                content = self._file.read(end - first)
                yield from (content[position - first : position - first + size] for position, size in ranges)
            else:
                yield from (self._read_one(position, size) for position, size in ranges)

    def _read_one(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        return self._file.read(size)


def padded_packet(payload: bytes) -> av.Packet:
    """A packet with the zeros that decoders read behind it, which PyAV leaves out of a packet made of bytes."""
    packet = av.Packet(len(payload))
    packet.update(payload)
    return packet
