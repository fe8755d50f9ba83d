"""The index of a video file: which frames it shows, and the byte positions of its packets.

The shown frames are read from the packets without decoding if the container can be trusted
(``tubelet.data.video.formats``). Otherwise every frame is decoded once, which is slower and just as exact. So is it
where the decoder sorts frames, but the times of the packets ascend: a container that was written without presentation
times (from AVI, or a raw stream) shows its frames in the decoder's order.

The index also holds the position of every packet in the file, so that a reader can decode from a key frame on without
opening the container. These positions are verified: the bytes there must equal the packet, or lie close behind
(Matroska gives the position of a block's header), and the first frame decoded from them must equal the container's.
If they do not, or if a packet carries more than its bytes, ``is_direct`` is False and readers use the container.

N shown frames, P packets, K key packets. Times are whole numbers of the stream's time base. The *row* of a packet is
its number in the file; decoders are given it in place of a time, and so tell which packet a frame comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.packet import PktSideDataT
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from jaxtyping import Shaped
from numpy.typing import NDArray

from tubelet.data.video.container import ByteRange, Decoded, VideoContainer, file_error, reporting
from tubelet.data.video.early_end import Promise, num_whole, refuse_cut
from tubelet.data.video.formats import SEEK_BY_POSITION, SELF_CONTAINED, STORE_DTS, STORE_PTS
from tubelet.data.video.frame_order import order_of_packets, times_of_frames
from tubelet.data.video.packet_decoder import (
    COLORS,
    DISCARDED,
    DOUBTFUL,
    KEY,
    NO_TIME,
    PACKET,
    Codec,
    PacketDecoder,
)
from tubelet.data.video.random_access import Decode, is_doubtful, key_packets, with_tried_starts
from tubelet.data.video.scaling import Orientation

_POSSIBLE_FPS = 0.05, 1000.0  # a picture in 20 s; faster than any screen and usual camera
_PROGRESSIVE = 1  # FFmpeg's field orders above it are interlaced: a packet may hold one field, half a frame
# Side data of a packet that its decoding depends on.
_CHANGING: tuple[PktSideDataT, ...] = ("new_extradata", "param_change", "palette", "encryption_info")
_HEADER_BYTES = 64  # a Matroska block header is shorter


@dataclass(frozen=True, kw_only=True, eq=False)
class PacketIndex:
    """The shown frames of one file, and its packets.

    If ``rows`` is empty, frames are found by counting from the first.
    """

    file_bytes: int
    modified_ns: int  # of the whole file, when it was indexed
    codec: Codec
    orientation: Orientation | None  # None means unknown until a frame is decoded
    time_base: Fraction | None  # seconds
    rate: float  # frames per second as the container states
    num_frames: int  # N
    pts: NDArray[np.int64]  # of the shown frames, ascending; fewer than N if some frames have none
    is_direct: bool  # whether packets can be read straight from the file
    is_sorted_by_decoder: bool  # the container has decoding times in place of presentation times, and B-frames
    packets: Shaped[np.ndarray, " P"]  # PACKET
    rows: NDArray[np.int64]  # of the packets of the shown frames [N]; empty if frames do not tell their packets
    keys: Shaped[np.ndarray, " K"]  # KEY_PACKET; empty if decoding can only start at the first packet
    shortfall: str = ""  # in words, what is missing of what the file promises; empty if nothing is
    num_videos: int = 1  # streams of the file, of which one is read

    @classmethod
    def of(cls, path: str | Path, part: ByteRange | None = None) -> PacketIndex:
        """Read all packets of a file, and decode as much as is needed to know which frames it shows.

        Args:
            path: the file.
            part: the bytes of the file that hold the video. None means the whole file. Positions in ``packets`` count
                from the start of the file.

        Raises:
            VideoError: the file is missing, empty, cut short or no video.
        """
        path = Path(path)
        container = VideoContainer(path, part)
        try:
            with reporting(path, "read"):
                return _build(container)
        finally:
            container.close()

    def fits(self, path: Path) -> bool:
        """Whether the file has the size and modification time that it had when it was indexed."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.file_bytes, self.modified_ns)

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Height and width as shown. None if they are unknown until a frame is decoded."""
        return self.orientation.size(self.codec.height, self.codec.width) if self.orientation else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the file, one line each."""
        notes = [f"the file ends early: {self.shortfall}"] if self.shortfall else []
        if self.num_frames > 1 and not _POSSIBLE_FPS[0] <= self.fps <= _POSSIBLE_FPS[1]:
            last = float(self.timestamps[-1])
            notes.append(
                f"its times cannot be right: {self.num_frames} frames in {last:.4g} s, {self.fps:.4g} per second"
            )
        if self.is_sorted_by_decoder:
            notes.append("the file has B-frames without presentation times: frames are shown in the decoder's order")
        if self.num_videos > 1:
            size = f"{self.codec.height} x {self.codec.width}"
            notes.append(f"the file has {self.num_videos} video streams: the one of {size} pixels is read")
        return tuple(notes)

    @cached_property
    def timestamps(self) -> NDArray[np.float64]:
        """Presentation seconds of every shown frame [N], ascending from 0. Evenly spaced if some have no time."""
        base, ticks = self.time_base, np.unique(self.pts)
        if base is None or len(ticks) < self.num_frames:
            return np.arange(self.num_frames) / self.rate
        # One division of whole numbers: a time such as 0.1 s then equals the 0.1 that a user writes.
        return np.asarray((ticks - ticks[0]) * base.numerator / base.denominator)

    @property
    def fps(self) -> float:
        """Shown frames per second, averaged over the file."""
        last = float(self.timestamps[-1])
        return (self.num_frames - 1) / last if last > 0 else self.rate


@dataclass(frozen=True)
class _Scan:
    """The result of one pass over the packets."""

    packets: Shaped[np.ndarray, " P"]
    exact: bool  # every packet lies at its position in ``packets`` and consists of its bytes alone
    cut_short: bool
    first: av.VideoFrame | None  # the first shown frame; None if it does not decode


def _build(container: VideoContainer) -> PacketIndex:
    path, stream, names = container.path, container.stream, container.format_names
    found = path.stat()
    num_bytes = found.st_size if container.part is None else container.part[1]
    scan = _scan(container)
    is_cut = scan.cut_short or ("dv" in names and num_bytes % int(scan.packets["size"][0]) > 0)  # of equal pictures
    refuse_cut(container, num_bytes, len(scan.packets), is_cut)
    promise, num_videos = Promise.of(container), container.num_videos
    codec, progressive = Codec.of(stream), stream.codec_context.field_order <= _PROGRESSIVE
    time_base, rate = stream.time_base, float(stream.average_rate or stream.guessed_rate or 1)
    reorders, packets = bool(stream.codec_context.has_b_frames), scan.packets
    stored = bool(names & STORE_PTS) or (bool(names & STORE_DTS) and not reorders)
    ascending = bool(np.all(np.diff(packets["pts"]) > 0))  # so no frame is shown before one that is decoded earlier
    order = order_of_packets(packets) if stored and progressive and not (reorders and ascending) else None
    damaged: list[bool] | None = None
    if order is None:  # decoding opens the container again, which makes ``stream`` invalid
        decoded = [(frame.pts, bad) for frame, bad in container.decode_from(packets, 0)]
        order, damaged = [row for row, _ in decoded], [bad for _, bad in decoded]
    num_shown = len(order)
    order = order[: num_whole(container, promise, packets, order, damaged, is_cut)]
    if not order:
        raise file_error(path, "the file is damaged: no frame decodes")
    rows = np.array([row for row in order if row is not None], dtype=np.int64)
    if len(np.unique(rows)) < len(order):
        rows = rows[:0]
    is_sorted = bool(names & STORE_PTS) and ascending and bool(np.any(np.diff(rows) < 0))
    direct = scan.exact and progressive and len(rows) > 0
    direct = direct and scan.first is not None and _decodes_alike(path, codec, packets, scan.first)
    keys = key_packets(packets, rows)
    if not direct and (not _seeks(packets, keys, names) or not stored):
        keys = keys[:0]
    decode = _decode_direct(path, codec, packets) if direct else _decode_in(container, packets)
    # A raw stream of MPEG-1 or 2 has no times; FFmpeg guesses some, which jump where B-frames are.
    pts = rows[:0] if "mpegvideo" in names else times_of_frames(packets, rows)
    return PacketIndex(
        file_bytes=found.st_size,
        modified_ns=found.st_mtime_ns,
        codec=codec,
        orientation=Orientation.of(scan.first) if scan.first else None,
        time_base=time_base,
        rate=rate,
        num_frames=len(order),
        pts=pts,
        is_direct=direct,
        is_sorted_by_decoder=is_sorted,
        packets=packets,
        rows=rows,
        keys=with_tried_starts(keys, packets, rows, decode),
        shortfall=promise.shortfall(
            len(order), len(packets), num_shown - len(order), _end_seconds(pts, time_base, rate)
        ),
        num_videos=num_videos,
    )


def _seeks(packets: Shaped[np.ndarray, " P"], keys: Shaped[np.ndarray, " K"], names: set[str]) -> bool:
    """Whether the container can be asked for every key packet."""
    known = packets["position" if names & SEEK_BY_POSITION else "pts"][keys["row"]]
    return len(np.unique(known)) == len(known) and not np.any(known == NO_TIME)


def _end_seconds(pts: NDArray[np.int64], time_base: Fraction | None, rate: float) -> float:
    """When the last frame ends, by the clock of the file. Infinite if that is unknown."""
    if not len(pts) or time_base is None:
        return float("inf")
    return float(int(pts[-1]) * time_base) + 1 / rate


def _decode_direct(path: Path, codec: Codec, packets: Shaped[np.ndarray, " P"]) -> Decode:
    def decode(start: int, stop: int) -> Iterator[Decoded]:
        decoder = PacketDecoder(path, codec, packets)
        try:
            yield from decoder.decode_from(start, stop)
        finally:
            decoder.close()

    return decode


def _decode_in(container: VideoContainer, packets: Shaped[np.ndarray, " P"]) -> Decode:
    def decode(start: int, stop: int) -> Iterator[Decoded]:
        for frame, damaged in container.decode_from(packets, start):
            if frame.pts is not None and frame.pts >= stop:
                return
            yield frame, damaged

    return decode


def _scan(container: VideoContainer) -> _Scan:
    rows: list[tuple[int, int, int, int]] = []
    context = container.stream.codec_context
    exact, cut_short, first, decoding = context.name in SELF_CONTAINED, False, None, True
    base = 0 if container.part is None else container.part[0]
    with container.path.open("rb", buffering=0) as file:
        for packet in container.packets():
            position = _position(file, packet, base) if exact else None
            exact = position is not None
            if position is None:
                position = NO_TIME if packet.pos is None or packet.pos < 0 else base + packet.pos
            pts, flags = NO_TIME if packet.pts is None else packet.pts, _flags(packet, context)
            rows.append((position, packet.size, pts, flags))
            cut_short = packet.is_corrupt
            if decoding:
                packet.pts = len(rows) - 1
                first, decoding = _first_frame(packet)
    return _Scan(packets=np.array(rows, dtype=PACKET), exact=exact and bool(rows), cut_short=cut_short, first=first)


def _first_frame(packet: av.Packet[VideoStream]) -> tuple[av.VideoFrame | None, bool]:
    """The first frame of the decoder if it has come, and whether to go on looking for it."""
    try:
        frames = packet.decode()
    except (av.FFmpegError, IndexError):
        return None, False
    return (frames[0], False) if frames else (None, True)


def _position(file: BinaryIO, packet: av.Packet[VideoStream], base: int) -> int | None:
    """The position of a packet's bytes in the file; the video begins at ``base``. None if they are not there alone."""
    if packet.pos is None or packet.pos < 0 or any(packet.has_sidedata(kind) for kind in _CHANGING):
        return None
    payload = bytes(packet)
    file.seek(base + packet.pos)
    found = file.read(packet.size + _HEADER_BYTES).find(payload)
    return base + packet.pos + found if found >= 0 else None


def _flags(packet: av.Packet[VideoStream], context: VideoCodecContext) -> int:
    flags = KEY * packet.is_keyframe + DISCARDED * packet.is_discard
    doubtful = packet.is_keyframe and is_doubtful(bytes(packet), context.name, context.extradata or b"")
    return flags + DOUBTFUL * doubtful


def _decodes_alike(path: Path, codec: Codec, packets: Shaped[np.ndarray, " P"], first: av.VideoFrame) -> bool:
    """Whether ``PacketDecoder`` gives the container's first frame, with the same pixels and colors."""
    start, row = int(np.argmax(packets["flags"] & KEY)), first.pts
    if row is None or row < start:
        return False
    try:
        decoded = _decode_direct(path, codec, packets)(start, row + 1)
        frame = next((frame for frame, _ in decoded if frame.pts == row), None)
    except av.FFmpegError:
        return False
    if frame is None or any(int(getattr(frame, tag)) != int(getattr(first, tag)) for tag in COLORS):
        return False
    if (frame.format.name, frame.height, frame.width) != (first.format.name, first.height, first.width):
        return False
    return np.array_equal(frame.to_ndarray(format="rgb24"), first.to_ndarray(format="rgb24"))
