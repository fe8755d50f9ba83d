"""The packet indices of a dataset's files, kept beside the data from run to run.

One SQLite file, because many processes read it at once, a few rows at a time, and one that writes it may be killed.
A row counts only while its file has the size and time of change that it had when it was indexed, and while its own
checksum holds; whatever else is wrong with the store, its files are indexed anew. Deleting it costs time alone.
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

from tubelet.data.decoder import PACKET, Codec
from tubelet.data.packet_index import PacketIndex
from tubelet.data.scaling import Orientation
from tubelet.errors import DataError

Video = Path | tuple[Path, str]  # a file, or a tar shard and the address of its member (``tubelet.data.shards``)

STORE_NAME = ".tubelet-packets.sqlite"  # in the folder that the paths of a manifest are relative to

_VERSION = 1  # goes up when a row means something else
_TABLE = "CREATE TABLE packets (path TEXT PRIMARY KEY, header TEXT, arrays BLOB, checksum INTEGER)"
_WAIT_SECONDS = 30.0  # for another process that writes the same store
_UNREADABLE = (sqlite3.Error, zlib.error, ValueError, KeyError, TypeError)


class IndexStore:
    """The packet indices of the files below one folder.

    It travels to worker processes by pickle; each opens the file for itself, for reading only.

    Args:
        file: where it is kept. A store that is not there yet has no index.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._connection: tuple[int, sqlite3.Connection] | None = None  # of the process with this number

    @classmethod
    def beside(cls, root: Path) -> IndexStore:
        """The store of a dataset whose paths are relative to ``root``."""
        return cls(root / STORE_NAME)

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "_connection": None}

    def get(self, video: Video) -> PacketIndex | None:
        """The index of a video; None where there is none that can be trusted."""
        try:
            row = self._open().execute(
                "SELECT header, arrays, checksum FROM packets WHERE path = ?", [self._key(video)]
            )
            found = row.fetchone()
            index = _decode(*found) if found else None
        except _UNREADABLE:
            return None
        path = video if isinstance(video, Path) else video[0]
        return index if index is not None and index.fits(path) else None

    def put(self, indices: Mapping[Path, PacketIndex] | Mapping[Video, PacketIndex]) -> None:
        """Keeps the indices of these videos. A store that is damaged or of another version is begun anew.

        Raises:
            DataError: the file cannot be written.
        """
        rows = [(self._key(video), *_encode(index)) for video, index in indices.items()]
        try:
            try:
                self._write(rows)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self.file.unlink()
                self._write(rows)
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"{self.file}: cannot be written ({error}); make its folder writable") from None

    def close(self) -> None:
        """Closes the file; it opens again by itself."""
        if self._connection is not None and self._connection[0] == os.getpid():
            self._connection[1].close()
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._connection[0] != os.getpid():
            address = f"file:{quote(str(self.file.absolute()))}?mode=ro"
            connection = sqlite3.connect(address, _WAIT_SECONDS, uri=True, check_same_thread=False)
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.close()
                raise ValueError("another version")
            self._connection = os.getpid(), connection
        return self._connection[1]

    def _write(self, rows: list[tuple[str, str, bytes, int]]) -> None:
        self.close()
        with closing(sqlite3.connect(self.file, _WAIT_SECONDS)) as connection, connection:
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.execute("DROP TABLE IF EXISTS packets")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.executemany("INSERT OR REPLACE INTO packets VALUES (?, ?, ?, ?)", rows)

    def _key(self, video: Video) -> str:
        """Relative to the store's folder where it lies below it, so that a dataset may move."""
        path, entry = (video, "") if isinstance(video, Path) else (video[0], f":{video[1]}")
        path, folder = path.absolute(), self.file.absolute().parent
        return (path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)) + entry


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
        "timed": index.timed,
        "lengths": [len(index.pts), len(index.keys), len(index.packets)],
    }
    text = json.dumps(header)
    arrays = zlib.compress(index.pts.tobytes() + index.keys.tobytes() + index.packets.tobytes(), 1)
    return text, arrays, zlib.crc32(arrays, zlib.crc32(text.encode()))


def _decode(text: str, arrays: bytes, checksum: int) -> PacketIndex:
    """The inverse of ``_encode``. Raises one of ``_UNREADABLE`` where the row is damaged."""
    if zlib.crc32(arrays, zlib.crc32(text.encode())) != checksum:
        raise ValueError("checksum")
    header, content = json.loads(text), zlib.decompress(arrays)
    num_pts, num_keys, num_packets = header.pop("lengths")
    times = np.frombuffer(content, dtype=np.int64, count=num_pts + num_keys)
    codec, orientation, time_base = (header.pop(name) for name in ("codec", "orientation", "time_base"))
    extradata, colors = b64decode(codec.pop("extradata")), tuple(codec.pop("colors"))
    return PacketIndex(
        codec=Codec(**codec, extradata=extradata, colors=colors),
        orientation=Orientation(**orientation) if orientation else None,
        time_base=Fraction(time_base) if time_base else None,
        pts=times[:num_pts],
        keys=times[num_pts:],
        packets=np.frombuffer(content, dtype=PACKET, count=num_packets, offset=times.nbytes),
        **header,
    )
