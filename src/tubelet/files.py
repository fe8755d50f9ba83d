"""Atomic writes: a file is there whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?size (\d+)\n")
_LFS_POINTER_BYTES = 1024  # no pointer is longer, says its specification
_LEFTOVER = re.compile(r"\..+\.\d+\.new")  # of ``written_atomically``


@contextmanager
def naming(path: Path, *, instead_of: Path | None = None) -> Iterator[None]:
    """Name ``path`` in a system error that names no file, such as that of a write to a full disk.

    Args:
        instead_of: the file or folder that is written first, beside ``path``. An error that names it then names
            ``path``.
    """
    try:
        yield
    except OSError as error:
        named = error.filename is not None and (
            instead_of is None or not str(error.filename).startswith(f"{instead_of}")
        )
        if error.errno is None or named:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def lfs_pointer(path: Path) -> str | None:
    """What to say of a file that is the pointer of Git LFS in place of its content. None means that it is none.

    Source: github.com/git-lfs/git-lfs, ``docs/spec.md``.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_LFS_POINTER_BYTES)
    except OSError:  # a folder, say; who reads it says what is wrong
        return None
    pointer = _LFS_POINTER.match(start)
    if pointer is None:
        return None
    return (
        f"is a Git-LFS pointer to a file of {int(pointer[1]):,} bytes and not that file; get it with `git lfs pull` in "
        "its repository, or download it again"
    )


def is_leftover(path: Path) -> bool:
    """Whether a killed writer left this file."""
    return _LEFTOVER.fullmatch(path.name) is not None and path.is_file()


def remove_leftovers(folder: Path) -> None:
    """Remove the files that killed writers left in ``folder``. No other process may write there."""
    for path in folder.glob(".*.new"):
        if is_leftover(path):
            path.unlink(missing_ok=True)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to. It is synced and moved over ``path``, or removed on an error.

    Raises:
        OSError: the file cannot be written. The error names ``path``, which is unchanged.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with naming(path, instead_of=new):
            yield new
            with new.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(new, path)
    finally:
        with suppress(OSError):  # in a folder that went away or takes no changes; the first error says why
            new.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file. Text is written as UTF-8 with unchanged newlines."""
    with written_atomically(path) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)
