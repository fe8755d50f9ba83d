"""Stores the packet indices of a dataset's files beside the data, for the runs that follow.

If the folder of the data cannot be written, the store lies in the folder of the manifest. If that cannot be written
either, each process remembers the indices it has made itself.

The store is one SQLite file, because many processes read it at once, a few rows at a time, and a process that writes
it may be killed. A row is valid while its file has the size and modification time that it had when it was indexed, and
while its own checksum is right. After any other damage, files are indexed again. Deleting the store costs only time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from tubelet.data.video.packet_decoder import PACKET, Codec
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.random_access import KEY_PACKET
from tubelet.data.video.scaling import Orientation
from tubelet.errors import DataError

Video = Path | tuple[Path, str]  # a file, or a tar shard and the address of its member (see ``sources.shards``)

STORE_NAME = ".tubelet-packets.sqlite"

_VERSION = 3  # goes up when a row means something else
_TABLE = "CREATE TABLE packets (path TEXT PRIMARY KEY, header TEXT, arrays BLOB, checksum INTEGER)"
_REMEMBERED_BYTES = 64 * 2**20  # of arrays, in each process; a minute of film takes about 50 KB
_WAIT_SECONDS = 30.0  # for another process that writes the same store
_UNREADABLE = (sqlite3.Error, zlib.error, ValueError, KeyError, TypeError)


class IndexStore:
    """The packet indices of the files below one folder.

    It can be pickled for worker processes. Each of them opens the file for itself and reads only.

    Args:
        file: the file of the store. If it does not exist, the store is empty.
        other: the file to use if ``file`` cannot be written.
    """

    def __init__(self, file: Path, other: Path | None = None) -> None:
        self.file = file
        self._files = (file,) if other is None or other.absolute() == file.absolute() else (file, other)
        self._connections: dict[Path, tuple[int, sqlite3.Connection]] = {}  # of the process with this number
        self._remembered: dict[Video, PacketIndex] = {}
        self._remembered_bytes = 0

    @classmethod
    def beside(cls, root: Path, folder: Path | None = None) -> IndexStore:
        """The store of a dataset.

        Args:
            root: the folder that its paths are relative to; the store lies there.
            folder: the folder of its manifest file, for the store if ``root`` cannot be written. None means no other.
        """
        return cls(root / STORE_NAME, folder / STORE_NAME if folder else None)

    def __reduce__(self) -> tuple[type[IndexStore], tuple[Path, Path]]:
        return IndexStore, (self._files[0], self._files[-1])

    def get(self, video: Video) -> PacketIndex | None:
        """The index of a video. None if the store has no valid one."""
        path = video if isinstance(video, Path) else video[0]
        if (remembered := self._remembered.get(video)) is not None and remembered.fits(path):
            return remembered
        for file in self._files:
            index = self._read(file, video)
            if index is not None and index.fits(path):
                return index
        return None

    def remember(self, video: Video, index: PacketIndex) -> None:
        """Keep an index in the memory of this process, until newer ones need the memory."""
        self._forget(video)
        self._remembered[video] = index
        self._remembered_bytes += _num_bytes(index)
        while self._remembered_bytes > _REMEMBERED_BYTES:
            self._forget(next(iter(self._remembered)))

    def put(self, indices: Mapping[Path, PacketIndex] | Mapping[Video, PacketIndex]) -> None:
        """Write the indices of these videos. A store that is damaged or has another version is replaced.

        Raises:
            DataError: the file cannot be written.
        """
        encoded = {video: _encode(index) for video, index in indices.items()}
        self.close()
        problems = []
        for file in self._files:
            rows = [(_key(file, video), *row) for video, row in encoded.items()]
            try:
                try:
                    self._write(file, rows)
                except sqlite3.DatabaseError as error:
                    if isinstance(error, sqlite3.OperationalError):
                        raise
                    file.unlink()
                    self._write(file, rows)
                return
            except (sqlite3.Error, OSError) as error:
                problems.append(f"{file}: cannot be written ({error})")
        raise DataError(f"{', '.join(problems)}; make its folder writable")

    def close(self) -> None:
        """Close the file. It opens again when it is needed."""
        for process, connection in self._connections.values():
            if process == os.getpid():
                connection.close()
        self._connections = {}

    def _forget(self, video: Video) -> None:
        if (index := self._remembered.pop(video, None)) is not None:
            self._remembered_bytes -= _num_bytes(index)

    def _read(self, file: Path, video: Video) -> PacketIndex | None:
        select = "SELECT header, arrays, checksum FROM packets WHERE path = ?"
        try:
            found = self._open(file).execute(select, [_key(file, video)]).fetchone()
            return _decode(*found) if found else None
        except _UNREADABLE:
            return None

    def _open(self, file: Path) -> sqlite3.Connection:
        opened = self._connections.get(file)
        if opened is None or opened[0] != os.getpid():
            address = f"file:{quote(str(file.absolute()))}?mode=ro"
            connection = sqlite3.connect(address, _WAIT_SECONDS, uri=True, check_same_thread=False)
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.close()
                raise ValueError("another version")
            opened = self._connections[file] = os.getpid(), connection
        return opened[1]

    @staticmethod
    def _write(file: Path, rows: list[tuple[str, str, bytes, int]]) -> None:
        with closing(sqlite3.connect(file, _WAIT_SECONDS)) as connection, connection:
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.execute("DROP TABLE IF EXISTS packets")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.executemany("INSERT OR REPLACE INTO packets VALUES (?, ?, ?, ?)", rows)


def _key(file: Path, video: Video) -> str:
    """The key of a video: its path relative to the store's folder if it lies below it, so that a dataset can move."""
    path, entry = (video, "") if isinstance(video, Path) else (video[0], f":{video[1]}")
    path, folder = path.absolute(), file.absolute().parent
    return (path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)) + entry


def _num_bytes(index: PacketIndex) -> int:
    return sum(array.nbytes for array in _arrays(index))


def _arrays(index: PacketIndex) -> tuple[np.ndarray, ...]:
    return index.pts, index.rows, index.keys, index.packets


def _encode(index: PacketIndex) -> tuple[str, bytes, int]:
    """Header, arrays and their checksum."""
    codec = asdict(index.codec)
    header = {
        "file_bytes": index.file_bytes,
        "modified_ns": index.modified_ns,
        "codec": codec | {"extradata": b64encode(index.codec.extradata).decode()},
        "orientation": asdict(index.orientation) if index.orientation else None,
        "time_base": str(index.time_base) if index.time_base else None,
        "rate": index.rate,
        "num_frames": index.num_frames,
        "is_direct": index.is_direct,
        "is_sorted_by_decoder": index.is_sorted_by_decoder,
        "shortfall": index.shortfall,
        "num_videos": index.num_videos,
        "lengths": [len(array) for array in _arrays(index)],
    }
    text = json.dumps(header)
    arrays = zlib.compress(b"".join(array.tobytes() for array in _arrays(index)), 1)
    return text, arrays, zlib.crc32(arrays, zlib.crc32(text.encode()))


def _decode(text: str, compressed: bytes, checksum: int) -> PacketIndex:
    """The inverse of ``_encode``. Raises one of ``_UNREADABLE`` if the row is damaged."""
    if zlib.crc32(compressed, zlib.crc32(text.encode())) != checksum:
        raise ValueError("checksum")
    header, content = json.loads(text), zlib.decompress(compressed)
    arrays, offset = list[Any](), 0
    for dtype, length in zip(
        (np.dtype(np.int64), np.dtype(np.int64), KEY_PACKET, PACKET), header.pop("lengths"), strict=True
    ):
        arrays.append(np.frombuffer(content, dtype=dtype, count=length, offset=offset))
        offset += arrays[-1].nbytes
    codec, orientation, time_base = (header.pop(name) for name in ("codec", "orientation", "time_base"))
    extradata, colors = b64decode(codec.pop("extradata")), tuple(codec.pop("colors"))
    return PacketIndex(
        codec=Codec(**codec, extradata=extradata, colors=colors),
        orientation=Orientation(**orientation) if orientation else None,
        time_base=Fraction(time_base) if time_base else None,
        pts=arrays[0],
        rows=arrays[1],
        keys=arrays[2],
        packets=arrays[3],
        **header,
    )
