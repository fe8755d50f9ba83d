"""Reads a video or an ``.npy`` volume that is a member of a tar shard, without unpacking the shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from tubelet.data.sources.shards import member_name, member_range, read_member
from tubelet.data.sources.volume import ValueWindow, read_npy_bytes
from tubelet.data.video.info import VideoInfo
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import BY_DEFAULT, Rendering
from tubelet.data.video.scaling import CropWindow
from tubelet.errors import VideoError
from tubelet.types import Frames


def read_member_volume(
    path: Path, entry: str | None, num_channels: int, window: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """The ``.npy`` volume at ``entry`` of the shard ``path``. Other arguments are those of ``read_volume``."""
    name = f"{path}:{member_name(entry or '')}"
    return read_npy_bytes(read_member(path, entry), num_channels, name, window)


class ShardVideoReader(VideoReader):
    """A ``VideoReader`` of a member of a shard. Its errors name the shard and the member.

    Args:
        path: the shard.
        entry: the address of the member.
        index: the packet index of the member, if known.
        rendering: as in ``VideoReader``.

    Raises:
        DataError: the shard holds something else there.
        VideoError: the member is no video.
    """

    def __init__(
        self,
        path: Path,
        entry: str | None,
        index: PacketIndex | None = None,
        rendering: Rendering = BY_DEFAULT,
    ) -> None:
        self._entry, self._shard, self._name = entry, str(path), f"{path}:{member_name(entry or '')}"
        part = member_range(path, entry)
        with self._named():
            super().__init__(path, index, part, rendering)

    def frames_at(self, indices: Sequence[int], window: CropWindow | None = None) -> Frames:
        """As ``VideoReader.frames_at``."""
        with self._named():
            return super().frames_at(indices, window)

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """As ``VideoReader.frames_in_order``."""
        with self._named():
            yield from super().frames_in_order(indices)

    @property
    def info(self) -> VideoInfo:
        """As ``VideoReader.info``."""
        with self._named():
            return super().info

    def reopened(self) -> ShardVideoReader:
        """As ``VideoReader.reopened``."""
        return ShardVideoReader(self.path, self._entry, self.index, self.rendering)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except VideoError as error:
            line = str(error)
            if line.startswith(self._shard) and not line.startswith(self._name):
                line = self._name + line[len(self._shard) :]
            raise VideoError(line) from None
