"""Files that end early: how much is there of what they promise, and which last pictures are incomplete.

A file that lost its end still opens in most containers, and FFmpeg decodes what is there without an error. The promise
is the number of frames or the length in a header, the number of bytes (``tubelet.data.video.truncation``), or the end
mark of a GIF.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import Shaped

from tubelet.data.video.container import VideoContainer, file_error
from tubelet.data.video.full_decode import counts_frames, digest, slack_seconds
from tubelet.data.video.packet_decoder import KEY, Codec, padded_packet
from tubelet.data.video.truncation import missing_bytes, whole_gif_pictures

# FFmpeg's names of the containers whose header states a length; of others FFmpeg estimates it.
_STATE_SECONDS = frozenset({"asf", "flv", "matroska", "mxf"})
# Without these a file cut in the middle is not read: an index at the start tells of data behind the end.
_INDEXED = frozenset({"avi", "mov"})
# Streams without an index, whose last packet may be a part of one.
_OPEN_ENDED = frozenset({"asf", "flv", "mpegts", "nut"})
# Streams without a container. Their decoders read on behind a slice that is cut, and HEVC's does not say so.
_RAW = frozenset({"h264", "hevc"})
_FILLS = (b"\x55" * 256, b"\xd3" * 256)  # no start code in them, and different bits
# Frames from the one of the last packet on, as they are shown; no codec reorders more than 16. Damage that is further
# from the end has another cause, and is an error when its frames are read.
_MAX_TAIL = 17


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a file says of itself before it is read."""

    frames: int | None  # of the video stream, by the header; None if it holds no number
    seconds: float | None  # when the last frame ends, by the header; None if it holds no time
    missing_bytes: int  # of the file, by its container
    whole_pictures: int | None  # of a GIF without an end mark; None for all others

    @classmethod
    def of(cls, container: VideoContainer) -> Promise:
        """The promise of an open file."""
        stream, names = container.stream, container.format_names
        missing = missing_bytes(container.path, container.part)
        counts = counts_frames(names, is_whole=missing == 0)
        return cls(
            frames=(stream.frames or None) if counts else None,
            seconds=_promised_seconds(container, missing) if names & _STATE_SECONDS else None,
            missing_bytes=missing,
            whole_pictures=whole_gif_pictures(container.path, container.part) if "gif" in names else None,
        )

    def shortfall(self, num_frames: int, num_packets: int, num_spoiled: int, end_seconds: float) -> str:
        """In words, found and promised. Empty if nothing is missing.

        Args:
            num_frames: that are used.
            num_packets: that are there, also of frames that the container discards.
            num_spoiled: that are not used, because the file ends inside the last packet.
            end_seconds: when the last used frame ends, by the clock of the file.
        """
        missing = self._missing(num_frames, num_packets, end_seconds)
        return missing or (f"{num_frames} frames, without the last {num_spoiled}" if num_spoiled else "")

    def _missing(self, num_frames: int, num_packets: int, end_seconds: float) -> str:
        if self.whole_pictures is not None:
            return f"{num_frames} whole pictures are there, and no end mark"
        if self.frames is not None and num_packets < self.frames:
            return f"{num_packets} of {self.frames} promised frames are there"
        promised = self.seconds or 0.0
        slack = 0.0 if self.missing_bytes else slack_seconds(promised)
        if end_seconds < promised - slack:
            return f"{num_frames} frames, {end_seconds:.2f} of {promised:.2f} promised seconds are there"
        if self.missing_bytes and self.frames is None and self.seconds is None:
            return f"{num_frames} frames are there, and {self.missing_bytes} bytes are missing"
        return ""


def refuse_cut(container: VideoContainer, num_bytes: int, num_packets: int, last_is_cut: bool) -> None:
    """Raise VideoError if an index at the start of the file tells of data behind its end.

    Args:
        container: the open file.
        num_bytes: its size, or that of its part.
        num_packets: that were read.
        last_is_cut: whether the last of them is incomplete.
    """
    entries = list(container.stream.index_entries) if container.format_names & _INDEXED else []
    inside = sum(entry.pos + entry.size <= num_bytes for entry in entries)
    if inside == len(entries) and not (last_is_cut and container.format_names & _INDEXED):
        return
    promised = max(container.stream.frames, len(entries))
    found = min(inside, num_packets - last_is_cut)
    raise file_error(
        container.path,
        f"the file is damaged or cut short: data ends early, at {num_bytes} bytes, with {found} of {promised} promised "
        "frames",
    )


def num_whole(
    container: VideoContainer,
    promise: Promise,
    packets: Shaped[np.ndarray, " P"],
    order: Sequence[int | None],
    damaged: Sequence[bool] | None,
    last_is_cut: bool,
) -> int:
    """How many frames are left without those at the end that an incomplete last packet spoils.

    Args:
        container: the open file. Its end may be decoded, which makes its stream invalid.
        promise: of the file.
        packets: of the stream.
        order: rows of the packets of the shown frames, as they are shown.
        damaged: which of them are, if all were decoded. Else files that may have lost their end are decoded from their
            last key frame on.
        last_is_cut: whether the last packet is incomplete.
    """
    place = {row: number for number, row in enumerate(order)}
    # MPEG-2's decoder does not say that a picture lacks its end.
    cut = last_is_cut or (promise.missing_bytes > 0 and "mpegts" in container.format_names)
    cut = cut or (bool(container.format_names & _RAW) and _reads_past_end(container, packets))
    first_bad = place.get(len(packets) - 1, len(order) - 1) if cut else len(order)
    if damaged is not None:
        whole = [number for number, bad in enumerate(damaged, 1) if not bad]
        first_bad = min(first_bad, whole[-1] if whole else 0)
    elif cut or promise.missing_bytes or container.format_names & _OPEN_ENDED:
        first_bad = min(first_bad, _first_damaged(container, packets, place))
    tail = len(order) - first_bad
    count = len(order) - (tail if tail <= _MAX_TAIL else 0)
    return count if promise.whole_pictures is None else min(count, promise.whole_pictures)


def _first_damaged(
    container: VideoContainer, packets: Shaped[np.ndarray, " P"], place: Mapping[int | None, int]
) -> int:
    """The first frame from the last key packet on that is damaged or does not decode, as its place among all."""
    start = int(np.flatnonzero(packets["flags"] & KEY)[-1])
    damaged, reached = [len(place)], place.get(start, -1)
    try:
        for frame, bad in container.decode_from(packets, start):
            number = place.get(frame.pts, -1)
            reached = max(reached, number)
            if bad and number >= 0:
                damaged.append(number)
    except av.FFmpegError:
        damaged.append(reached + 1)
    return min(damaged)


def _reads_past_end(container: VideoContainer, packets: Shaped[np.ndarray, " P"]) -> bool:
    """Whether the picture of the last packet depends on what bytes lie behind it. That of a whole one does not."""
    keys = np.flatnonzero(packets["flags"] & KEY)
    start = int(keys[-1]) if len(keys) else 0
    again = VideoContainer(container.path, container.part)
    try:
        codec = Codec.of(again.stream)
        payloads = [bytes(packet) for row, packet in enumerate(again.packets()) if row >= start]
    finally:
        again.close()
    return len({_last_picture(codec, [*payloads[:-1], payloads[-1] + fill]) for fill in _FILLS}) > 1


def _last_picture(codec: Codec, payloads: Sequence[bytes]) -> bytes:
    """A hash of the picture of the last of these packets. Empty if there is none."""
    context, picture = codec.open(), b""
    try:
        for row, payload in enumerate([*payloads, None]):
            packet = None if payload is None else padded_packet(payload)
            if packet is not None:
                packet.pts = row
            for frame in context.decode(packet):
                picture = digest(frame) if frame.pts == len(payloads) - 1 else picture
    except av.FFmpegError:
        return b""
    return picture


def _promised_seconds(container: VideoContainer, missing: int) -> float | None:
    """The length in the header: of the stream, or of the file where no other stream may be the longer one."""
    own = _seconds_of(container.stream)
    if own is not None:
        return own
    return container.header_seconds if missing or container.is_alone else None


def _seconds_of(stream: VideoStream) -> float | None:
    """The stream's own length. Matroska has it as text: 00:00:02.440000000."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = map(float, parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
