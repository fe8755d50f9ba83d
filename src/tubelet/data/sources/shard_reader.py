"""The frames of one member of a tar shard, a video or an ``.npy`` volume, read where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.sources.shards import member_name, member_place, read_member
from tubelet.data.sources.volume import ValueWindow, read_npy_bytes
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import Window
from tubelet.errors import VideoError
from tubelet.types import Frames


def read_member_volume(
    path: Path, entry: str | None, num_channels: int, window: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """The ``.npy`` volume at ``entry`` of the shard ``path``; the rest as in ``read_volume``."""
    name = f"{path}:{member_name(entry or '')}"
    return read_npy_bytes(read_member(path, entry), num_channels, name, window)


class ShardVideoReader(VideoReader):
    """``VideoReader`` over a member of a shard; its errors name the shard and the member.

    Args:
        path: the shard.
        entry: the address of the member.
        index: of the member, where it is known.

    Raises:
        DataError: the shard holds something else there.
        VideoError: the member is no video.
    """

    def __init__(self, path: Path, entry: str | None, index: PacketIndex | None = None) -> None:
        self._shard, self._name = str(path), f"{path}:{member_name(entry or '')}"
        place = member_place(path, entry)
        with self._named():
            super().__init__(path, index, place)

    def frames_at(self, indices: Sequence[int], window: Window | None = None) -> Frames:
        """As ``VideoReader.frames_at``."""
        with self._named():
            return super().frames_at(indices, window)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except VideoError as error:
            line = str(error)
            if line.startswith(self._shard) and not line.startswith(self._name):
                line = self._name + line[len(self._shard) :]
            raise VideoError(line) from None
