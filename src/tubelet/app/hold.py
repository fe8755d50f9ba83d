"""One writer at a time in a folder that several servers may share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tubelet.errors import ConfigError, DataError
from tubelet.session.folder_lock import FolderLock

_WAIT_SECONDS, _LOOK_SECONDS = 10.0, 0.01  # a write takes milliseconds


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, as soon as the server that holds it lets go.

    Raises:
        DataError: another process holds it for long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    until, lock = time.monotonic() + _WAIT_SECONDS, FolderLock(folder)
    while True:
        try:
            lock.acquire()
            break
        except ConfigError:
            if time.monotonic() > until:
                raise DataError("another `tubelet app` writes here and does not end; try again, or end it") from None
            time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release()
