"""Finds truncated files: a container states its own length, and an interrupted download or copy is shorter.

    MP4, MOV    top-level boxes: 32-bit size (1: a 64-bit one follows; 0: to the end), four-letter type
                (ISO/IEC 14496-12, section 4.2)
    MKV, WebM   the EBML header, then one Segment with its size as a variable-length integer, all ones where the
                writer did not know it (RFC 8794, sections 4 to 6; RFC 9559)
    AVI         "RIFF", then the 32-bit size of what follows
    MPEG-TS     packets of 188 bytes that begin with 0x47, or of 192 with a time of 4 bytes before each
                (ISO/IEC 13818-1, section 2.4.3.2)
    GIF         blocks up to a trailer; each picture in sub-blocks of at most 255 bytes, the last of them empty
                (GIF89a specification, sections 15 to 27)

Nothing is decoded. Other containers do not state their length.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from tubelet.data.video.container import ByteRange

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_SYNC, _TS_PACKETS = 0x47, ((188, 0), (192, 4))  # size of a packet, position of its sync byte
_GIF_EXTENSION, _GIF_PICTURE, _GIF_TRAILER = 0x21, 0x2C, 0x3B
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid")


def missing_bytes(path: Path, part: ByteRange | None = None) -> int:
    """By how many bytes a file, or the video in a ``part`` of it, is shorter than its container states.

    0 if it is complete, or if its container does not state a length.
    """
    if not path.is_file():
        return 0  # reading a pipe would block
    begin, size = part or (0, path.stat().st_size)
    with path.open("rb") as file:
        file.seek(begin)
        start = file.read(min(8, size))
        if rest := _cut_ts_packet(file, begin, size):
            return rest
        file.seek(begin)
        if start[:4] == b"RIFF":
            end = begin + 8 + int.from_bytes(start[4:8], "little")
        elif start[:4] == _EBML:
            end = _end_of_segment(file)
        elif start[4:8] in _FIRST_BOXES:
            end = _end_of_boxes(file, begin, begin + size)
        else:
            end = begin
    return max(0, end - (begin + size))


def whole_gif_pictures(path: Path, part: ByteRange | None = None) -> int | None:
    """How many pictures of a GIF are whole. None if it has its end mark, or is no GIF."""
    begin, size = part or (0, path.stat().st_size)
    with path.open("rb") as file:
        file.seek(begin)
        header, stop, count = file.read(13), begin + size, 0
        if header[:3] != b"GIF":
            return None
        file.seek(_color_table(header[10]), os.SEEK_CUR)
        while file.tell() < stop:
            kind = file.read(1)[0]
            if kind == _GIF_TRAILER:
                return None
            if kind == _GIF_PICTURE:
                flags = file.read(9)[-1:] or b"\0"
                file.seek(_color_table(flags[0]) + 1, os.SEEK_CUR)  # and the size of codes
            elif kind == _GIF_EXTENSION:
                file.seek(1, os.SEEK_CUR)
            else:
                return None  # something behind the pictures that is not GIF
            if not _skips_sub_blocks(file, stop):
                break
            count += kind == _GIF_PICTURE
    return count


def _color_table(flags: int) -> int:
    """Bytes of the color table that these flags tell of."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skips_sub_blocks(file: BinaryIO, stop: int) -> bool:
    """Go behind the sub-blocks that begin here. False if the file ends inside them."""
    while (size := file.read(1)) and file.tell() <= stop:
        if not size[0]:
            return True
        file.seek(size[0], os.SEEK_CUR)
    return False


def _cut_ts_packet(file: BinaryIO, begin: int, size: int) -> int:
    """Bytes that the last packet of a transport stream lacks. 0 for whole packets, and for other files."""
    for packet, sync in _TS_PACKETS:
        file.seek(begin)
        start = file.read(min(size, 8 * packet))
        if len(start) == 8 * packet and all(byte == _TS_SYNC for byte in start[sync::packet]):
            return -size % packet
    return 0


def _end_of_boxes(file: BinaryIO, begin: int, stop: int) -> int:
    """The end of the last box. A box whose type is no text ends the search."""
    position = begin
    while position + 8 <= stop:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if not header[4:8].isascii() or not header[4:8].decode("ascii").isprintable():
            return position
        if length == 0:
            return stop
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return position
        position += length
    return position


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(len(_EBML), os.SEEK_CUR)
    header = _variable_integer(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _variable_integer(file)
    return 0 if length is None else file.tell() + length


def _variable_integer(file: BinaryIO) -> int | None:
    """An EBML size. The leading zeros of its first byte give the number of bytes that follow. None if unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
    return None if len(rest) < width - 1 or value == (1 << 7 * width) - 1 else value
