"""Transcodes videos in parallel. A process that takes far too long for its file is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode import transcode
from tubelet.data.video.packet_index import PacketIndex

# Time limits of ten times what a slow core needs. First for opening and indexing:
_START_SECONDS, _SECONDS_PER_MEGABYTE = 120.0, 1.0  # of the file
_SECONDS_PER_FRAME, _SECONDS_PER_MEGAPIXEL = 0.05, 0.25  # then in addition, for all frames of the source


@dataclass(frozen=True)
class SourceFile:
    """A video to transcode."""

    source: Path
    target: Path  # below the output folder
    mark: str  # of the source's content, and of the settings
    growing: Path | None = None  # that can be watched meanwhile


@dataclass(frozen=True)
class VideoTranscoder:
    """Transcodes files in a worker pool. The result of each is its line in the ledger."""

    encoding: Encoding
    start_seconds: float  # time limit of an empty file, until its number of frames is known

    def name(self, file: SourceFile) -> str:
        """The name of the file in messages."""
        return str(file.source)

    def run(self, file: SourceFile, allow: Callable[[float], None]) -> dict[str, Any]:
        """Transcode one file."""
        seconds = self.start_seconds + _SECONDS_PER_MEGABYTE * file.source.stat().st_size / 1e6
        allow(seconds)

        notes: list[str] = []

        def allow_frames(found: PacketIndex) -> None:
            notes.extend(found.notes)
            megapixels = found.codec.height * found.codec.width / 1e6
            allow(seconds + found.num_frames * (_SECONDS_PER_FRAME + _SECONDS_PER_MEGAPIXEL * megapixels))

        file.target.parent.mkdir(parents=True, exist_ok=True)
        num_frames = transcode(file.source, file.target, self.encoding, allow_frames, growing=file.growing)
        made = {"num_frames": num_frames, "bytes": file.target.stat().st_size}
        return made | ({"notes": notes} if notes else {})


def transcoded(
    files: dict[str, SourceFile], encoding: Encoding, num_workers: int
) -> Iterator[tuple[str, dict[str, Any] | Failure]]:
    """Yield the ledger's line for each file, in order."""
    transcoder = VideoTranscoder(encoding, _START_SECONDS)
    yield from zip(files, in_order(transcoder, tuple(files.values()), num_workers, _START_SECONDS), strict=True)


def line_of(failure: Failure) -> str:
    """The line of a failure. It does not advise a longer time limit, because ``prepare`` has no such option."""
    if failure.kind != "hung":
        return failure.line
    return f"{failure.line.partition('; ')[0]}; check that the file plays, or leave it out"
