"""The scan of one file: the reader that training uses opens it, and a full decode checks it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tubelet.data.sources.open_source import Reader, open_source
from tubelet.data.sources.shards import is_shard, member_name, member_range
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.full_decode import decode_fully
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.truncation import missing_bytes
from tubelet.errors import DataError
from tubelet.errors import reason as reason_of
from tubelet.protocol import Protocol

# ok: every frame decodes. damaged: some frames do not decode. silent_short: no error, but fewer frames than the file
# promises. truncated: the file ends earlier than its container states. hung, crashed: its process was killed, or died.
Kind = Literal["ok", "missing", "unreadable", "truncated", "damaged", "silent_short", "hung", "crashed"]

_EVEN = 0.25  # share of the usual interval by which intervals may differ at a constant rate
_FRAMES_AT_ONCE = 64  # of sources that are no video files; these are read frame by frame
_FRAMES_PER_SECOND = 25.0  # for the time limit, whatever rate the file states
_PASSES = 3  # the full decode, and up to two by the reader


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What the scan found in one file, or in one entry of an .npz file or a tar shard."""

    path: str  # as in the manifest, with the entry as file.npz:entry, file.tar:entry
    fingerprint: str  # of the file when it was decoded
    kind: Kind
    reason: str = ""  # one line; empty if the kind is ok
    num_frames: int = 0
    seconds: float = 0.0
    height: int = 0
    width: int = 0
    variable_rate: str = ""  # in words; empty if intervals between frames are equal
    notes: tuple[str, ...] = ()  # what the user should know, as ``VideoReader.notes``
    content: str | None = None  # equal for two files that decode to the same frames


@dataclass(frozen=True, kw_only=True)
class ScanFile:
    """One file to scan."""

    path: str
    file: Path
    entry: str | None  # inside an .npz file or a tar shard
    fps: float | None = None  # of a frame folder


@dataclass(frozen=True, kw_only=True)
class FileScanner:
    """Scans files in a worker pool.

    A file's time limit is the pool's ``timeout_seconds``, or ``timeout_factor`` seconds for each second that its frames
    last at 25 frames per second, whichever is more.
    """

    timeout_factor: float
    num_channels: int

    def name(self, file: ScanFile) -> str:
        return file.path

    def run(self, file: ScanFile, allow: Callable[[float], None]) -> FileFacts:
        def allow_frames(count: int) -> None:
            allow(_PASSES * self.timeout_factor * count / _FRAMES_PER_SECOND)

        return scan_file(file, self.num_channels, allow_frames)


def missing_facts(path: str) -> FileFacts:
    """What is known of a file that is not there."""
    return FileFacts(path=path, fingerprint="", kind="missing", reason="there is no such file")


def fingerprint(file: Path) -> str:
    """A hash that changes when a file is written: of its size, time, first and last 64 KiB.

    For a folder it is a hash of the sizes and times of its files. Anything else, such as a pipe, is not opened. A file
    that may not be read, or that has gone, has a hash as well: whoever decodes it says what is wrong.
    """
    digest = hashlib.sha256()
    with suppress(OSError):
        for part in sorted(file.iterdir()) if file.is_dir() else [file]:
            status, name = part.stat(), os.fsencode(part.name if part != file else "")
            digest.update(name + f" {status.st_size} {status.st_mtime_ns}".encode())
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(stream.read(1 << 16))
                stream.seek(max(0, file.stat().st_size - (1 << 16)))
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def scan_file(
    source: ScanFile, num_channels: int = 3, allow_frames: Callable[[int], None] = lambda count: None
) -> FileFacts:
    """Decode one file. Errors are part of the result and are not raised.

    Args:
        source: the file.
        num_channels: of volumes.
        allow_frames: called with the number of frames once it is known.
    """
    mark, protocol = fingerprint(source.file), Protocol(num_channels=num_channels)
    try:
        with open_source(source.file, source.entry, protocol, source.fps) as reader:
            allow_frames(len(reader.timestamps))
            facts = FileFacts(
                path=source.path,
                fingerprint=mark,
                kind="ok",
                num_frames=len(reader.timestamps),
                seconds=round(float(reader.duration_seconds), 6),
                height=reader.height,
                width=reader.width,
                variable_rate=_variable_rate(reader.timestamps),
            )
            if isinstance(reader, VideoReader):
                kind, reason, content = _check_video(reader, source)
            else:
                kind, reason, content = _check_frames(reader)
            notes = reader.notes  # of the frames that were read
    except (DataError, OSError, MemoryError) as error:  # of torch's errors of memory ``serve`` makes a failure
        reason = _without_path(error, source)
        kind = "truncated" if _is_cut_short(source) else "unreadable"
        return FileFacts(path=source.path, fingerprint=mark, kind=kind, reason=reason)
    return FileFacts(**(vars(facts) | {"kind": kind, "reason": reason, "content": content, "notes": notes}))


def _check_video(reader: VideoReader, source: ScanFile) -> tuple[Kind, str, str | None]:
    """Kind, reason and content of a video that the reader opens."""
    known, missing = len(reader.timestamps), missing_bytes(reader.path, reader.part)
    singly = sorted({0, known // 2, known - 1})
    found = decode_fully(reader.path, reader.part, singly)
    if reader.index.shortfall:
        cut = f"; the file is {missing} bytes shorter than its container says" if missing else ""
        kind: Kind = "truncated" if missing or found.shortfall is None else "silent_short"
        return kind, f"ends early: {reader.index.shortfall}{cut}", None
    if found.error is not None or found.num_damaged:
        what = found.error or f"{found.num_damaged} damaged frames"
        return ("truncated" if missing else "damaged"), f"{found.num_frames} of {known} frames decode: {what}", None
    if found.shortfall is not None or found.num_frames < known:
        what = found.shortfall or f"{found.num_frames} of {known} frames decode"
        cut = f"; the file is {missing} bytes shorter than its container says" if missing else ""
        return ("truncated" if missing else "silent_short"), f"{what}, without an error{cut}", None
    if found.num_frames != known:
        return "damaged", f"its index tells of {known} frames, but {found.num_frames} decode", None
    try:
        others = [index for index in reversed(singly) if reader.digests([index])[index] != found.pictures[index]]
    except DataError as error:
        return "damaged", _without_path(error, source), None
    if others:
        return "damaged", f"frame {others[0]} read alone is another picture than in a full decode", None
    return "ok", "", found.content


def _check_frames(reader: Reader) -> tuple[Kind, str, str | None]:
    """Kind, reason and content of frames that are no video file: volumes and frame folders."""
    digest = hashlib.blake2b(digest_size=16)
    count = len(reader.timestamps)
    for start in range(0, count, _FRAMES_AT_ONCE):
        pixels = reader.frames_at(range(start, min(count, start + _FRAMES_AT_ONCE))).pixels
        digest.update(f"{tuple(pixels.shape[1:])}".encode() + pixels.contiguous().numpy().tobytes())
    return "ok", "", digest.hexdigest()


def _variable_rate(timestamps: NDArray[np.float64]) -> str:
    """In words, how intervals between frames differ. Empty if only the rounding of the container's clock differs."""
    intervals = np.diff(timestamps)
    if len(intervals) < 2:
        return ""
    usual = float(np.median(intervals))
    if np.all(np.abs(intervals - usual) <= max(_EVEN * usual, 0.002)):
        return ""
    return f"{1000 * intervals.min():.0f} to {1000 * intervals.max():.0f} ms between frames, usually {1000 * usual:.0f}"


def _is_cut_short(source: ScanFile) -> bool:
    """Whether a video that the reader refuses is shorter than its container states."""
    try:
        if not is_shard(source.file):
            return is_video_path(source.file) and missing_bytes(source.file) > 0
        part = member_range(source.file, source.entry)
        return is_video_path(member_name(source.entry or "")) and missing_bytes(source.file, part) > 0
    except (DataError, OSError):  # it may not be read, or has gone
        return False


def _without_path(error: BaseException, source: ScanFile) -> str:
    """The message of an error as one line without the path, which the report shows beside it."""
    line = reason_of(error)
    if is_shard(source.file):
        line = line.removeprefix(f"{source.file}:{member_name(source.entry or '')}: ")
    return line.removeprefix(f"{source.file}: ").removesuffix("; replace the file or leave it out")
