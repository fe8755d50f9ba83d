"""``torch.save`` that says why a file could not be written: its own error tells of a position in the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

import torch


def write_state(state: dict[str, Any], file: Path) -> None:
    """Write tensors and plain data for ``torch.load(weights_only=True)``.

    Raises:
        OSError: it cannot be written, such as to a full disk.
    """
    with file.open("wb", buffering=0) as stream:
        watched = _Watched(stream)
        try:
            torch.save(state, cast(IO[bytes], watched))
        except RuntimeError:
            if watched.error is None:
                raise
            raise watched.error from None


class _Watched(io.BufferedIOBase):
    """A stream that remembers the system error of a write that failed."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        length = len(left)
        try:
            while left:
                left = left[self._stream.write(left) or 0 :]
        except OSError as error:
            self.error = error
            raise
        return length
