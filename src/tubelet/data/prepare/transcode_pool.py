"""Videos transcoded by processes that may hang or die; each is killed when it takes far too long for its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.prepare.transcode import Encoding, transcode
from tubelet.data.video.packet_index import PacketIndex

# After so long a file's process is taken to hang, ten times what a slow core needs. First for opening and indexing:
_START_SECONDS, _SECONDS_PER_MEGABYTE = 120.0, 1.0  # of the file
_SECONDS_PER_FRAME, _SECONDS_PER_MEGAPIXEL = 0.05, 0.25  # then in addition, of all frames of the source


@dataclass(frozen=True)
class SourceFile:
    """A video to transcode."""

    source: Path
    target: Path  # below the output folder
    mark: str  # of the source's content, and of the settings


@dataclass(frozen=True)
class VideoTranscoder:
    """Files to transcode, for a ``WorkerPool``; the result of each is its line in the ledger."""

    files: tuple[SourceFile, ...]
    encoding: Encoding
    start_seconds: float  # for a file of no bytes, until it is known what it holds

    def name(self, index: int) -> str:
        """The file as messages name it."""
        return str(self.files[index].source)

    def run(self, index: int, epoch: int, allow: Callable[[float], None]) -> dict[str, Any]:
        """Transcodes one file."""
        file = self.files[index]
        seconds = self.start_seconds + _SECONDS_PER_MEGABYTE * file.source.stat().st_size / 1e6
        allow(seconds)

        def allow_frames(found: PacketIndex) -> None:
            megapixels = found.codec.height * found.codec.width / 1e6
            allow(seconds + found.num_frames * (_SECONDS_PER_FRAME + _SECONDS_PER_MEGAPIXEL * megapixels))

        file.target.parent.mkdir(parents=True, exist_ok=True)
        num_frames = transcode(file.source, file.target, self.encoding, allow_frames)
        return {"num_frames": num_frames, "bytes": file.target.stat().st_size}


def transcoded(
    files: dict[str, SourceFile], encoding: Encoding, num_workers: int
) -> Iterator[tuple[str, dict[str, Any] | Failure]]:
    """The ledger's line for each file, in order, a few files ahead."""
    job = VideoTranscoder(tuple(files.values()), encoding, _START_SECONDS)
    yield from zip(files, in_order(job, len(files), num_workers, _START_SECONDS), strict=True)


def line_of(failure: Failure) -> str:
    """What went wrong with a file, and what can be done here, where nobody sets a time limit."""
    if failure.kind != "hung":
        return failure.line
    return f"{failure.line.partition('; ')[0]}; check that the file plays, or leave it out"
