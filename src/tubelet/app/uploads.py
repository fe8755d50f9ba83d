"""Films that the browser sends in chunks: kept beside until they are whole and known to be films.

Each server has a folder of its own for what is on its way, which it holds. What a server left that ended is removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import MAX_OPEN_UPLOADS, MAX_UPLOAD_BYTES, MIN_FREE_BYTES, UPLOAD_IDLE_SECONDS
from tubelet.app.hold import held
from tubelet.app.library import NotThere
from tubelet.data.video.formats import is_video_path
from tubelet.errors import DataError
from tubelet.session.folder_lock import FolderLock, refusal

_LONGEST_NAME = 150  # letters
_ODD = re.compile(r"[^\w .,()+=@&'\-\[\]]")


@dataclass
class Upload:
    """One film on its way."""

    id: str
    name: str
    size_bytes: int
    path: Path
    received_bytes: int = 0
    touched: float = 0.0  # monotonic


class Uploads:
    """The uploads that are open, and the folder of those that are whole."""

    def __init__(self, folder: Path, unfinished: Path) -> None:
        self.folder, self._all = folder, unfinished
        self._own = unfinished / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._hold: FolderLock | None = None  # of the own folder, once there is one
        self._open: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove what is not whole."""
        with self._lock:
            self._open.clear()
            if self._hold is not None:
                self._hold.release()
                self._hold = None
                shutil.rmtree(self._own, ignore_errors=True)

    def begin(self, name: str, size_bytes: int) -> Upload:
        """A new upload. Raises DataError for a name, size or number that is not taken."""
        clean = clean_name(name)
        if not 0 < size_bytes <= MAX_UPLOAD_BYTES:
            raise DataError(f"a film has 1 to {MAX_UPLOAD_BYTES:,} bytes, this one {size_bytes:,}")
        self._all.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._all).free - size_bytes < MIN_FREE_BYTES:
            raise DataError("the disk has too little space left for this film")
        with self._lock:
            self._hold_own()
            self._forget_idle()
            if len(self._open) >= MAX_OPEN_UPLOADS:
                raise DataError(f"{MAX_OPEN_UPLOADS} uploads are open; wait for one of them")
            upload_id = secrets.token_hex(16)
            upload = Upload(upload_id, clean, size_bytes, self._own / upload_id, touched=time.monotonic())
            upload.path.touch()
            self._open[upload_id] = upload
            return upload

    def get(self, upload_id: str) -> Upload:
        """An open upload. Raises NotThere."""
        if upload_id not in self._open:
            raise NotThere("there is no such upload; begin again")
        return self._open[upload_id]

    def write(self, upload_id: str, offset: int, content: bytes) -> Upload:
        """Append a chunk. Raises DataError where it does not lie behind what is there."""
        with self._lock:
            upload = self.get(upload_id)
            if offset != upload.received_bytes:
                raise DataError(f"expected the bytes from {upload.received_bytes} on, got those from {offset} on")
            if upload.received_bytes + len(content) > upload.size_bytes:
                raise DataError(f"more came than the {upload.size_bytes:,} bytes that were announced")
            with upload.path.open("ab") as stream:
                stream.write(content)
            upload.received_bytes += len(content)
            upload.touched = time.monotonic()
            return upload

    def whole(self, upload_id: str) -> Path:
        """The file of an upload that is whole, under a name with its suffix. Raises DataError if bytes are missing."""
        with self._lock:
            upload = self.get(upload_id)
            if upload.received_bytes != upload.size_bytes:
                raise DataError(f"{upload.received_bytes:,} of {upload.size_bytes:,} bytes have arrived; send the rest")
            named = upload.path.with_name(f"{upload.id}{Path(upload.name).suffix}")
            if upload.path != named:
                upload.path = upload.path.rename(named)
            return upload.path

    def keep(self, upload_id: str) -> Path:
        """Move a whole upload to the films, under a name that is free."""
        with self._lock:
            upload = self._open.pop(upload_id)
            self.folder.mkdir(parents=True, exist_ok=True)
            target, number = self.folder / upload.name, 2
            with held(self._all):  # another server may look for a free name too
                while target.exists() or target.is_symlink():
                    name = Path(upload.name)
                    target, number = self.folder / f"{name.stem} ({number}){name.suffix}", number + 1
                return upload.path.rename(target)

    def drop(self, upload_id: str) -> None:
        """Remove an upload."""
        with self._lock:
            upload = self._open.pop(upload_id, None)
            if upload is not None:
                upload.path.unlink(missing_ok=True)

    def _hold_own(self) -> None:
        """Make and hold the folder, and remove those of servers that have ended: no browser knows of them any more."""
        if self._hold is not None:
            return
        with held(self._all):  # so that no other server takes a folder for left that is only not held yet
            for left in self._all.iterdir():
                if left.is_dir() and refusal(left) is None:
                    shutil.rmtree(left, ignore_errors=True)
                elif left.is_file() and re.fullmatch(r"[0-9a-f]{32}(\.\w+)?", left.name):  # of an earlier version
                    left.unlink()
            self._own.mkdir()
            self._hold = FolderLock(self._own)
            self._hold.acquire()

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for upload in [u for u in self._open.values() if now - u.touched > UPLOAD_IDLE_SECONDS]:
            self._open.pop(upload.id).path.unlink(missing_ok=True)


def clean_name(name: str) -> str:
    """The last part of a name without letters that mean something to a file system.

    Raises:
        DataError: nothing is left, or it is no name of a film.
    """
    last = re.split(r"[/\\]", name)[-1]
    clean = _ODD.sub("_", last).strip(" .")
    if not clean or not is_video_path(clean) or not Path(clean).stem:
        raise DataError("expected the name of a video file, such as film.mp4")
    path = Path(clean)
    return f"{path.stem[: _LONGEST_NAME - len(path.suffix)]}{path.suffix}"
