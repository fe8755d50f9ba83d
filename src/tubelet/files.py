"""Atomic writes: a file is there whole or not at all, and whom it is open to, the umask says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tubelet.errors import ConfigError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from torch import Tensor

_LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?size (\d+)\n")
_LFS_POINTER_BYTES = 1024  # no pointer is longer, says its specification
_LONGEST_NAME_BYTES = 255  # of the usual file systems
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


def check_path(folder: Path, option: str = "--out", *, is_written: bool = False) -> None:
    """Raise ConfigError where no folder can be made; if ``is_written``, also where it would take no files.

    Before long work whose result goes there.
    """
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{path}: is a link to {path.readlink()}, which does not exist; give another {option}")
        if path.exists():
            if not path.is_dir():
                raise ConfigError(f"{path}: is a file, expected a folder; give another {option}")
            if is_written and not os.access(path, os.W_OK | os.X_OK):
                raise ConfigError(
                    f"{path}: takes no files (permission denied); allow writing there, or give another {option}"
                )
            return


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
    """Yield an empty file beside ``path`` to write to. It is synced and moved over ``path``, or removed on an error.

    Its mode is 0666 without the bits of the umask, also where a library writes another file in its place.

    Raises:
        OSError: the file cannot be written. The error names ``path``, which is unchanged.
    """
    new = _beside(path)
    try:
        with naming(path, instead_of=new):
            with new.open("wb") as stream:  # the system applies the umask, which only a change of it would tell
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            yield new
            new.chmod(mode)
            with new.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(new, path)
    finally:
        with suppress(OSError):  # in a folder that went away or takes no changes; the first error says why
            new.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where ``path`` is written first: a name that is not too long where that of ``path`` is not."""
    name, end = path.name, f".{os.getpid()}.new"
    if len(os.fsencode(f".{name}{end}")) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}{end}")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file of safetensors.

    Raises:
        OSError: the file cannot be written. The error names ``path``, which is unchanged.
    """
    from safetensors import SafetensorError  # not above: few of this module's users write tensors
    from safetensors.torch import save_file

    with written_atomically(path) as new:
        try:
            save_file(dict(tensors), new, metadata)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))  # a system error, by the number behind its words
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file. Text is written as UTF-8 with unchanged newlines.

    Bytes of a file's name that are not UTF-8 become ``\\udcXX``, which is their escape in JSON.
    """
    with written_atomically(path) as new:
        new.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextmanager
def appended_lines(path: Path) -> Iterator[Callable[..., None]]:
    """Yield a function that appends values at once, each as a line of JSON, which a kill leaves there.

    Raises:
        OSError: A line cannot be written. The error names ``path``; ``json_lines`` ignores half a line.
    """
    with path.open("ab", buffering=0) as stream:

        def write(text: str) -> None:
            left = text.encode(errors="backslashreplace")
            with naming(path):
                while left:
                    left = left[stream.write(left) :]

        if path.read_bytes()[-1:] not in (b"", b"\n"):
            write("\n")  # a line behind one that a kill cut short would be lost with it
        yield lambda *values: write("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file of ``appended_lines``; none of no file. A line that a kill cut short is left out.

    It may have been cut within a letter.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.split("\n"):
        with suppress(ValueError):
            yield json.loads(line)


def read_xml(path: Path) -> Element:
    """The root of an XML file. One that declares a document type is refused: its entities could grow without bounds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no UTF-8, no XML, or declares a document type.
    """
    from xml.etree import ElementTree  # not above: few of this module's users read XML

    text = path.read_text(encoding="utf-8-sig")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it defines entities")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
