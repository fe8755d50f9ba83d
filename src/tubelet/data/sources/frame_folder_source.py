"""A frame folder as the source of a stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.value_window import ValueWindow
from tubelet.data.video.live import LiveFrame
from tubelet.data.video.live_clock import Clock


class FrameFolderSource:
    """The pictures of a frame folder, read with the methods of ``LiveSource``.

    Args:
        folder: the folder.
        fps: frames per second.
        window: as ``FrameFolderReader``.

    Raises:
        VideoError: as ``FrameFolderReader``.
    """

    damaged = disordered = 0
    has_end = is_stored = True

    def __init__(self, folder: Path, fps: float, window: ValueWindow | None) -> None:
        self.source, self.fps = str(folder), fps
        self._reader = FrameFolderReader(folder, fps, window)

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``LiveSource.notes``."""
        return self._reader.notes

    def frames(self) -> Iterator[LiveFrame]:
        """Yield all frames in order. Raises VideoError where one cannot be decoded, when its picture is asked for."""
        clock = Clock()
        for number, seconds in enumerate(self._reader.timestamps.tolist()):
            picture = partial(self._picture, number)
            yield LiveFrame(seconds=seconds, number=number, clock=clock, came=time.monotonic(), picture=picture)

    def close(self) -> None:
        """Nothing is open."""

    def _picture(self, number: int) -> UInt8[Tensor, "C H W"]:
        return self._reader.frames_at([number]).pixels[0]
