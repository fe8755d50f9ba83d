"""The frames of one member of a tar shard: a video or an ``.npy`` volume.

A video is copied to a temporary file, because decoders seek in files; with clips of a few hundred kilobytes the copy
costs far less than decoding, and the file is gone when the reader is closed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.scaling import Window
from tubelet.data.shards import member_name, read_member
from tubelet.data.video import VideoReader
from tubelet.data.volume import ValueWindow, read_npy_bytes
from tubelet.errors import VideoError
from tubelet.types import Frames


def read_member_volume(
    path: Path, entry: str | None, num_channels: int, window: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """The ``.npy`` volume at ``entry`` of the shard ``path``; the rest as ``tubelet.data.volume.read_volume``."""
    name = f"{path}:{member_name(entry or '')}"
    return read_npy_bytes(read_member(path, entry), num_channels, name, window)


class ShardVideoReader(VideoReader):
    """``VideoReader`` over a member of a shard; its errors name the shard and the member."""

    def __init__(self, path: Path, entry: str | None) -> None:
        content = read_member(path, entry)
        self._name = f"{path}:{member_name(entry or '')}"
        self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - lives as long as the reader
            prefix="tubelet-", suffix=Path(self._name).suffix
        )
        try:
            self._file.write(content)
            self._file.flush()
            with self._named():
                super().__init__(self._file.name)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Closes and removes the copy. Calling it again does nothing."""
        super().close()
        self._file.close()

    def frames_at(self, indices: Sequence[int], window: Window | None = None) -> Frames:
        """As ``VideoReader.frames_at``."""
        with self._named():
            return super().frames_at(indices, window)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except VideoError as error:
            raise VideoError(str(error).replace(self._file.name, self._name)) from None
