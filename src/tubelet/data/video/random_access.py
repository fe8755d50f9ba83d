"""Where decoding may start: the key packets of a stream, and which of them give the pictures of a full pass.

    H.264   an IDR picture, or a recovery point whose recovery_frame_cnt is 0 (ITU-T H.264, 7.4.1 and D.2.8)
    H.265   an IRAP picture (ITU-T H.265, 7.4.2.2)
    others  what the container calls a key packet

Other packets that a container calls key packets only begin to refresh the picture (intra refresh, gradual decoder
refresh), and what they promise is not always kept: x264 states a recovery that the last frames of its stream do not
reach. So such a start is tried once, when the file is indexed, and used for the groups that come out equal.

K key packets, N shown frames. A group is the frames shown from a key packet's frame to the next one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from tubelet.data.video.container import Decoded
from tubelet.data.video.full_decode import digest
from tubelet.data.video.packet_decoder import DOUBTFUL, KEY

# row: of the packet. shown: index of the first frame of the group. start: number of the key to decode its group from.
KEY_PACKET = np.dtype([("row", "<i8"), ("shown", "<i8"), ("start", "<i8")])

_SLICE, _IDR, _SEI, _RECOVERY_POINT = 1, 5, 6, 6  # H.264: types of NAL units and of a message
_IRAP = range(16, 24)  # H.265: types of NAL units
_GROUPS_TRIED = 3  # that a doubtful start decodes: a refresh takes one or two

Decode = Callable[[int, int], Iterator[Decoded]]  # from a row, to the frame of another at least


def is_doubtful(payload: bytes, codec: str, extradata: bytes) -> bool:
    """Whether a key packet does not begin with a picture that needs no other."""
    if codec == "h264":
        units = list(_nal_units(payload, (extradata[4] & 3) + 1 if extradata[:1] == b"\1" else 0))
        types = {unit[0] & 31 for unit in units}
        is_intra = any(unit[0] & 31 == _SLICE and _begins_intra_picture(unit) for unit in units)
        at_once = any(_recovers_at_once(unit) for unit in units if unit[0] & 31 == _SEI)
        return _IDR not in types and not (is_intra and at_once)  # x264 states a count of 0 for P slices too
    if codec == "hevc":
        length_bytes = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 21 else 0
        return not any(unit[0] >> 1 & 63 in _IRAP for unit in _nal_units(payload, length_bytes))
    return False


def key_packets(packets: Shaped[np.ndarray, " P"], rows: NDArray[np.int64]) -> Shaped[np.ndarray, " K"]:
    """The key packets in order (``KEY_PACKET``), each its own start.

    Args:
        packets: all packets (``PACKET``).
        rows: of the packets of the shown frames, in the order in which they are shown [N].
    """
    shown_at = np.full(len(packets) + 1, len(rows))
    shown_at[rows] = np.arange(len(rows))
    after = np.minimum.accumulate(shown_at[::-1])[::-1]  # of a key packet that is not shown: the first frame after it
    found = np.flatnonzero(packets["flags"] & KEY)
    shown = np.where(shown_at[found] < len(rows), shown_at[found], after[found])
    in_order = shown > np.maximum.accumulate(np.concatenate([[-1], shown]))[:-1]
    usable = in_order & (shown < len(rows))
    keys = np.empty(int(usable.sum()), KEY_PACKET)
    keys["row"], keys["shown"], keys["start"] = found[usable], shown[usable], np.arange(len(keys))
    return keys


def with_tried_starts(
    keys: Shaped[np.ndarray, " K"], packets: Shaped[np.ndarray, " P"], rows: NDArray[np.int64], decode: Decode
) -> Shaped[np.ndarray, " K"]:
    """The key packets with starts from which every frame of their group equals that of a full pass.

    Without a doubtful key packet they are returned as they are. Else the file is decoded about four times.
    """
    doubtful = packets["flags"][keys["row"]] & DOUBTFUL > 0
    if not doubtful.any():
        return keys
    borders = np.append(keys["shown"], len(rows))
    expected = _digests(decode(0, len(packets)))
    keys = keys.copy()
    keys["start"] = np.maximum.accumulate(np.where(doubtful, -1, np.arange(len(keys))))
    for key in np.flatnonzero(doubtful).tolist():
        last = min(key + _GROUPS_TRIED, len(keys))
        found = _digests(decode(int(keys["row"][key]), int(rows[borders[key] : borders[last]].max()) + 1))
        for group in range(key, last):
            frames = rows[borders[group] : borders[group + 1]].tolist()
            if all(row in found and found[row] == expected.get(row) for row in frames):
                keys["start"][group] = key
    return keys


def _digests(frames: Iterator[Decoded]) -> dict[int | None, bytes]:
    """A hash of every undamaged frame by its row."""
    return {frame.pts: digest(frame) for frame, damaged in frames if not damaged}


def _nal_units(payload: bytes, length_bytes: int) -> Iterator[bytes]:
    """NAL units without their lengths, or without start codes where ``length_bytes`` is 0."""
    if not length_bytes:
        yield from (unit for unit in payload.split(b"\0\0\1")[1:] if unit)
        return
    position = 0
    while position + length_bytes < len(payload):
        end = position + length_bytes + int.from_bytes(payload[position : position + length_bytes], "big")
        if unit := payload[position + length_bytes : end]:
            yield unit
        position = end


def _begins_intra_picture(unit: bytes) -> bool:
    """Whether a slice unit of H.264 has first_mb_in_slice 0 (one bit, 1) and slice_type I (011, or 0001000 for 7)."""
    return len(unit) > 1 and (unit[1] >> 4 == 0b1011 or unit[1] == 0b10001000)


def _recovers_at_once(unit: bytes) -> bool:
    """Whether an SEI unit of H.264 holds a recovery point with recovery_frame_cnt 0, which is coded as one bit, 1."""
    unit, position = unit.replace(b"\0\0\3", b"\0\0"), 1
    while position + 2 < len(unit):
        kind = length = 0
        while position < len(unit) - 1 and unit[position] == 255:
            kind, position = kind + 255, position + 1
        kind, position = kind + unit[position], position + 1
        while position < len(unit) - 1 and unit[position] == 255:
            length, position = length + 255, position + 1
        length, position = length + unit[position], position + 1
        if kind == _RECOVERY_POINT:
            return position < len(unit) and unit[position] & 0x80 > 0
        position += length
    return False
