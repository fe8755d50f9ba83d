"""Transcodes videos in parallel. A process that takes far too long for its file is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.made_from import origin_fields
from tubelet.data.prepare.transcode import transcode
from tubelet.data.prepare.transcode_folder import transcode_folder
from tubelet.data.sources.shards import member_name, member_range
from tubelet.data.video.packet_index import PacketIndex
from tubelet.errors import VideoError

# Time limits of ten times what a slow core needs. First for opening and indexing:
_START_SECONDS, _SECONDS_PER_MEGABYTE = 120.0, 1.0  # of the file
_SECONDS_PER_FRAME, _SECONDS_PER_MEGAPIXEL = 0.05, 0.25  # then in addition, for all frames of the source


@dataclass(frozen=True)
class SourceFile:
    """A video, a frame folder or a member of a tar shard to transcode."""

    source: Path
    target: Path  # below the output folder
    mark: str  # of the source's content, and of the settings
    growing: Path | None = None  # that can be watched meanwhile
    entry: str | None = None  # address of the video in a tar shard
    fps: float | None = None  # frames per second of a frame folder

    @property
    def name(self) -> str:
        """The source in messages."""
        return str(self.source) if self.entry is None else f"{self.source}:{member_name(self.entry)}"

    @property
    def num_bytes(self) -> int:
        """Of the video, or of the pictures of the folder."""
        if self.entry is not None:
            return member_range(self.source, self.entry)[1]
        files = self.source.iterdir() if self.source.is_dir() else (self.source,)
        return sum(file.stat().st_size for file in files if file.is_file())


@dataclass(frozen=True)
class VideoTranscoder:
    """Transcodes files in a worker pool. The result of each is its line in the ledger."""

    encoding: Encoding
    start_seconds: float  # time limit of an empty file, until its number of frames is known

    def name(self, file: SourceFile) -> str:
        """The name of the file in messages."""
        return file.name

    def run(self, file: SourceFile, allow: Callable[[float], None]) -> dict[str, Any]:
        """Transcode one file."""
        seconds = self.start_seconds + _SECONDS_PER_MEGABYTE * file.num_bytes / 1e6
        allow(seconds)
        notes: list[str] = []

        def allow_frames(count: int, height: int, width: int) -> None:
            allow(seconds + count * (_SECONDS_PER_FRAME + _SECONDS_PER_MEGAPIXEL * height * width / 1e6))

        def on_index(found: PacketIndex) -> None:
            notes.extend(found.notes)
            allow_frames(found.num_frames, found.codec.height, found.codec.width)

        file.target.parent.mkdir(parents=True, exist_ok=True)
        if file.source.is_dir():
            assert file.fps is not None  # others are refused before
            num_frames = transcode_folder(file.source, file.fps, file.target, self.encoding, allow_frames)
        else:
            with _named(file):
                part = None if file.entry is None else member_range(file.source, file.entry)
                num_frames = transcode(
                    file.source, file.target, self.encoding, on_index, part=part, growing=file.growing
                )
        made: dict[str, Any] = {"num_frames": num_frames, "bytes": file.target.stat().st_size}
        made |= origin_fields(file.source, file.entry, file.num_bytes)
        return made | ({"notes": notes} if notes else {})


@contextmanager
def _named(file: SourceFile) -> Iterator[None]:
    """Errors of a shard's member name the member, too."""
    try:
        yield
    except VideoError as error:
        line, shard = str(error), str(file.source)
        raise VideoError(file.name + line[len(shard) :] if line.startswith(shard) else line) from None


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
