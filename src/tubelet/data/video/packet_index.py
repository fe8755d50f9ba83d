"""The index of a video file: which frames it shows, and the byte positions of its packets.

The shown frames are read from the packets without decoding if the container can be trusted
(``tubelet.data.video.formats``). Otherwise every frame is decoded once and counted, which is slower and just as exact.
The index also holds the position of every packet in the file, so that a reader can decode from a key frame on without
opening the container. These positions are verified: the bytes there must equal the packet, or lie close behind
(Matroska gives the position of a block's header), and the first frame decoded from them must equal the container's.
If they do not, or if a packet carries more than its bytes, ``packets`` is empty and readers use the container.

N shown frames, P packets. Times are whole numbers of the stream's time base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.packet import PktSideDataT
from av.video.stream import VideoStream
from jaxtyping import Shaped
from numpy.typing import NDArray

from tubelet.data.video.container import ByteRange, VideoContainer, file_error, reporting
from tubelet.data.video.early_end import Promise, num_whole, refuse_cut
from tubelet.data.video.formats import SELF_CONTAINED, STORE_DTS, STORE_PTS
from tubelet.data.video.packet_decoder import COLORS, DISCARDED, KEY, NO_TIME, PACKET, Codec, PacketDecoder
from tubelet.data.video.scaling import Orientation

_POSSIBLE_FPS = 0.05, 1000.0  # a picture in 20 s; faster than any screen and usual camera
_PROGRESSIVE = 1  # FFmpeg's field orders above it are interlaced: a packet may hold one field, half a frame
# Side data of a packet that its decoding depends on.
_CHANGING: tuple[PktSideDataT, ...] = ("new_extradata", "param_change", "palette", "encryption_info")
_HEADER_BYTES = 64  # a Matroska block header is shorter


@dataclass(frozen=True, kw_only=True, eq=False)
class PacketIndex:
    """The shown frames of one file and, where they can be read straight from it, its packets.

    A pts identifies a frame in ``packets`` and, if ``timed``, in the container. If neither holds, frames are found by
    counting from the first.
    """

    file_bytes: int
    modified_ns: int  # of the whole file, when it was indexed
    codec: Codec
    orientation: Orientation | None  # None means unknown until a frame is decoded
    time_base: Fraction | None  # seconds
    rate: float  # frames per second as the container states
    num_frames: int  # N
    timed: bool
    pts: NDArray[np.int64]  # of the shown frames, ascending; fewer than N if some frames have none
    keys: NDArray[np.int64]  # pts of the key frames, ascending
    packets: Shaped[np.ndarray, " P"] = field(default_factory=lambda: np.empty(0, PACKET))
    shortfall: str = ""  # in words, what is missing of what the file promises; empty if nothing is

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
    refuse_cut(container, num_bytes, len(scan.packets), scan.cut_short)
    promise = Promise.of(container)
    codec, progressive = Codec.of(stream), stream.codec_context.field_order <= _PROGRESSIVE
    time_base, rate = stream.time_base, float(stream.average_rate or stream.guessed_rate or 1)
    stored = bool(names & STORE_PTS) or (bool(names & STORE_DTS) and not stream.codec_context.has_b_frames)
    packets, exact = scan.packets, scan.exact
    times = _times_of_packets(packets) if stored and progressive else None
    damaged: list[bool] | None = None
    if times is None:  # decoding opens the container again, which makes ``stream`` invalid
        decoded = [(frame.pts, bad) for frame, bad in container.decode_from(None, packets["pts"][:0])]
        times, damaged = [pts for pts, _ in decoded], [bad for _, bad in decoded]
        packets, times, sorted_out = _sorted_out(packets, times)
        exact &= sorted_out and progressive
    num_shown = len(times)
    times = times[: num_whole(container, promise, scan.packets, times, damaged, scan.cut_short)]
    if not times:
        raise file_error(path, "the file is damaged: no frame decodes")
    pts = np.array([time for time in times if time is not None], dtype=np.int64)
    ascending = len(pts) == len(times) and bool(np.all(np.diff(pts) > 0))
    keys = np.unique(packets["pts"][(packets["flags"] & KEY > 0) & (packets["pts"] != NO_TIME)])
    exact = exact and ascending and len(keys) > 0 and len(np.unique(packets["pts"])) == len(packets)
    if not (exact and scan.first is not None and _decodes_alike(path, codec, packets, scan.first)):
        packets = packets[:0]
    return PacketIndex(
        file_bytes=found.st_size,
        modified_ns=found.st_mtime_ns,
        codec=codec,
        orientation=Orientation.of(scan.first) if scan.first else None,
        time_base=time_base,
        rate=rate,
        num_frames=len(times),
        timed=ascending and len(keys) > 0 and stored,
        pts=pts,
        keys=keys,
        packets=packets,
        shortfall=promise.shortfall(
            len(times), len(scan.packets), num_shown - len(times), _end_seconds(pts, time_base, rate)
        ),
    )


def _end_seconds(pts: NDArray[np.int64], time_base: Fraction | None, rate: float) -> float:
    """When the last frame ends, by the clock of the file. Infinite if that is unknown."""
    if not len(pts) or time_base is None:
        return float("inf")
    return float(int(pts[-1]) * time_base) + 1 / rate


def _times_of_packets(packets: Shaped[np.ndarray, " P"]) -> list[int | None] | None:
    """The pts of the shown frames. None if the packets do not determine them."""
    shown = packets["pts"][packets["flags"] & DISCARDED == 0]
    pts = np.unique(shown)
    first_is_key = len(packets) > 0 and packets["flags"][0] & KEY > 0
    if len(pts) < len(shown) or not first_is_key or not len(pts) or not NO_TIME < packets["pts"][0] <= pts[0]:
        return None
    return list(pts.tolist())


def _sorted_out(
    packets: Shaped[np.ndarray, " P"], times: list[int | None]
) -> tuple[Shaped[np.ndarray, " P"], list[int | None], bool]:
    """Give packets and frames the times at which the frames are shown. The last value is False if that is impossible.

    A container without presentation times (AVI) numbers its packets in decoding order. The decoder passes the number
    on to the frame and yields frames in the order in which they are shown. So the lowest number is the time of the
    first frame.
    """
    numbers = np.array([NO_TIME if time is None else time for time in times], dtype=np.int64)
    ascending = np.sort(numbers)
    if len(np.unique(numbers)) < len(packets) or not np.array_equal(ascending, np.sort(packets["pts"])):
        return packets, times, False
    order = np.argsort(numbers)  # position among the shown frames of the lowest number, of the next, ...
    packets = packets.copy()
    packets["pts"] = ascending[order[np.searchsorted(ascending, packets["pts"])]]
    return packets, list(ascending.tolist()), True


def _scan(container: VideoContainer) -> _Scan:
    rows: list[tuple[int, int, int, int, int]] = []
    exact, cut_short, first, decoding = container.stream.codec_context.name in SELF_CONTAINED, False, None, True
    base = 0 if container.part is None else container.part[0]
    with container.path.open("rb", buffering=0) as file:
        for packet in container.packets():
            position = _position(file, packet, base) if exact else None
            exact = position is not None
            rows.append((position or 0, packet.size, _time(packet.pts), _time(packet.dts), _flags(packet)))
            cut_short = packet.is_corrupt
            if decoding:
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


def _flags(packet: av.Packet[VideoStream]) -> int:
    return KEY * packet.is_keyframe + DISCARDED * packet.is_discard


def _time(ticks: int | None) -> int:
    return NO_TIME if ticks is None else ticks


def _decodes_alike(path: Path, codec: Codec, packets: Shaped[np.ndarray, " P"], first: av.VideoFrame) -> bool:
    """Whether ``PacketDecoder`` gives the container's first frame, with the same pixels and colors."""
    if first.pts is None or first.pts not in packets["pts"]:
        return False
    keys = packets["pts"][packets["flags"] & KEY > 0]
    decoder = PacketDecoder(path, codec, packets)
    try:
        wanted = np.array([first.pts])
        frames = decoder.decode_from(int(keys[0]), {first.pts}, wanted)
        frame = next((frame for frame, _ in frames if frame.pts == first.pts), None)
    except av.FFmpegError:
        return False
    finally:
        decoder.close()
    if frame is None or any(int(getattr(frame, tag)) != int(getattr(first, tag)) for tag in COLORS):
        return False
    if (frame.format.name, frame.height, frame.width) != (first.format.name, first.height, first.width):
        return False
    return np.array_equal(frame.to_ndarray(format="rgb24"), first.to_ndarray(format="rgb24"))
