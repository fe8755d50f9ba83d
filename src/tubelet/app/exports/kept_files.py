"""Folders of files that can be made again: the oldest make room for new ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tubelet.app.config import MIN_FREE_BYTES
from tubelet.errors import DataError


def make_room(folder: Path, size_bytes: int, most_bytes: int, what: str) -> None:
    """Make the folder, and remove what was not used for the longest time.

    Args:
        size_bytes: about as large as the new file will be.
        most_bytes: of all files in the folder.
        what: is made, for the message.

    Raises:
        DataError: the disk has too little space left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = sorted(_files(folder))
    total = sum(size for _, size, _ in kept)
    while kept and total + size_bytes > most_bytes:
        _, size, oldest = kept.pop(0)
        total -= size
        oldest.unlink(missing_ok=True)
    if shutil.disk_usage(folder).free < MIN_FREE_BYTES + size_bytes:
        raise DataError(f"the disk has too little space left for {what}")


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was last used, and its bytes. One that vanishes, as temporary ones do, is left out."""
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if file.is_file():
                about = file.stat()
                yield about.st_mtime, about.st_size, file


def touch(file: Path) -> None:
    """Say that a file was used now, unless it made room meanwhile."""
    with suppress(FileNotFoundError):
        os.utime(file)


def attachment(stem: str, suffix: str) -> dict[str, str]:
    """The header that gives a download its name, in ASCII."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ()") else "_" for c in stem)
    return {"content-disposition": f'attachment; filename="{name}{suffix}"'}
