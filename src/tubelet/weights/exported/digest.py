"""Digests of what a file computes: its weights and its graph, without what it says of itself. Files are streamed.

    .onnx   all fields of the model but its metadata and producer, and the files beside it that hold weights
    .xml    the weights in .bin, and layers and edges
    .pt2    all files of the archive but our own

Source of the fields' numbers: onnx/onnx, ``onnx/onnx.proto``; of their encoding: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from tubelet.errors import CheckpointError

_CHUNK_BYTES = 1 << 20
_SELF = {2, 3, 14}  # producer_name, producer_version and metadata_props of ModelProto
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def onnx_digest(path: Path, beside: Iterable[str]) -> str:
    """Of an ONNX file.

    Args:
        beside: names of the files in its folder that hold weights.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while (key := _varint(stream)) is not None:
            field, kind = key >> 3, key & 7
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
            if kind == _LENGTH:
                size = _varint(stream) or 0
            elif kind == _VARINT:
                digest.update(f"{field} {_varint(stream)} ".encode())
                continue
            if field in _SELF:
                stream.seek(size, 1)
                continue
            digest.update(f"{field} {size} ".encode())
            _add(digest, stream, size)
    for name in sorted(set(beside)):
        _add_file(digest, path.parent / name)
    return digest.hexdigest()


def openvino_digest(path: Path) -> str:
    """Of an OpenVINO file. Raises CheckpointError where it has no layers."""
    digest, text = hashlib.sha256(), path.read_bytes()
    start, end = text.find(b"<layers>"), text.rfind(b"</edges>")
    if not 0 <= start < end:
        raise CheckpointError(f"{path}: no OpenVINO file, or a damaged one (it has no layers)")
    digest.update(text[start:end])
    _add_file(digest, path.with_suffix(".bin"))
    return digest.hexdigest()


def archive_digest(path: Path, own: str) -> str:
    """Of an archive of torch.

    Args:
        own: the end of the name of our own file in it.
    """
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.filename.endswith(own):
                digest.update(f"{info.filename.partition('/')[2]} {info.file_size} ".encode())
                with archive.open(info) as stream:
                    while part := stream.read(_CHUNK_BYTES):
                        digest.update(part)
    return digest.hexdigest()


def _varint(stream: BinaryIO) -> int | None:
    """The next number in base 128, the lowest digits first; None at the end of the file."""
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    return None


def _add_file(digest: _Hash, file: Path) -> None:
    size = file.stat().st_size
    digest.update(f"{size} ".encode())
    with file.open("rb") as stream:
        _add(digest, stream, size)


def _add(digest: _Hash, stream: BinaryIO, size: int) -> None:
    while size > 0 and (part := stream.read(min(size, _CHUNK_BYTES))):
        digest.update(part)
        size -= len(part)
