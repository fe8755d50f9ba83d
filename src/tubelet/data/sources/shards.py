"""Reads one member of a tar shard by its position, without unpacking the shard.

The address of a member is ``name@offset+size``: its name in the archive, and the first byte and number of bytes of
its content. The block before the content is the member's header (POSIX ustar, 512 bytes). The header is compared with
the address, so that a shard that was written again is noticed and never read as other data.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from tubelet.data.sources.volume import is_volume
from tubelet.errors import DataError, reason


def is_shard(path: str | Path) -> bool:
    """Whether a file is a tar shard, by its suffix."""
    return Path(path).suffix.lower() == ".tar"


def address(member: tarfile.TarInfo) -> str:
    """The address of a member that tarfile has found."""
    return f"{member.name}@{member.offset_data}+{member.size}"


def member_name(entry: str) -> str:
    """The name in an address."""
    return entry.rpartition("@")[0]


def is_volume_row(path: str | Path, entry: str | None) -> bool:
    """Whether a row is a volume, by the name of its file or of the shard's member."""
    return is_volume(member_name(entry)) if is_shard(path) and entry is not None else is_volume(path)


def member_range(path: Path, entry: str | None) -> tuple[int, int]:
    """Offset and number of bytes of a member. Compares its header with the address.

    Raises:
        DataError: the address is malformed, or the shard holds something else there.
    """
    match = re.fullmatch(r"(.+)@(\d+)\+(\d+)", entry or "")
    if match is None:
        raise DataError(
            f"{path}: holds many samples; expected the address of one, such as clip.mp4@512+9000, got {entry!r}"
        )
    name, offset, size = match[1], int(match[2]), int(match[3])
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - tarfile.BLOCKSIZE))
            header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (OSError, tarfile.HeaderError) as error:
        raise DataError(f"{path}: {entry} is not there ({reason(error)}); write the manifest again") from None
    # Names that are long or not ASCII have a header of their own; this header then holds their first letters.
    if header.size != size or (name.isascii() and not name.startswith(header.name)):
        raise DataError(
            f"{path}: holds '{header.name}' of {header.size} bytes where the manifest expects {entry}: the shard "
            "changed; write the manifest again"
        )
    if (there := path.stat().st_size - offset) < size:
        raise DataError(f"{path}: is cut short: {name} has {max(0, there)} of its {size} bytes; replace the shard")
    return offset, size


def read_member(path: Path, entry: str | None) -> bytes:
    """The content of a member. Raises DataError as ``member_range``."""
    offset, size = member_range(path, entry)
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
