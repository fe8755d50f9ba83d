"""Films that the browser sends in chunks: kept beside until they are whole and known to be films."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import MAX_OPEN_UPLOADS, MAX_UPLOAD_BYTES, MIN_FREE_BYTES, UPLOAD_IDLE_SECONDS
from tubelet.app.library import NotThere
from tubelet.data.video.formats import is_video_path
from tubelet.errors import DataError

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
        self.folder, self._unfinished = folder, unfinished
        self._open: dict[str, Upload] = {}
        self._lock = threading.Lock()
        shutil.rmtree(unfinished, ignore_errors=True)  # of an earlier session, whose browsers know nothing of them

    def begin(self, name: str, size_bytes: int) -> Upload:
        """A new upload. Raises DataError for a name, size or number that is not taken."""
        clean = clean_name(name)
        if not 0 < size_bytes <= MAX_UPLOAD_BYTES:
            raise DataError(f"a film has 1 to {MAX_UPLOAD_BYTES:,} bytes, this one {size_bytes:,}")
        self._unfinished.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._unfinished).free - size_bytes < MIN_FREE_BYTES:
            raise DataError("the disk has too little space left for this film")
        with self._lock:
            self._forget_idle()
            if len(self._open) >= MAX_OPEN_UPLOADS:
                raise DataError(f"{MAX_OPEN_UPLOADS} uploads are open; wait for one of them")
            upload_id = secrets.token_hex(16)
            upload = Upload(upload_id, clean, size_bytes, self._unfinished / upload_id, touched=time.monotonic())
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
