"""Damaged videos made from whole ones, by seed, and what the reader and the scan make of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubelet.data.scan.scan_file import ScanFile, scan_file
from tubelet.data.video.full_decode import decode_fully
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError

MAX_PIXELS_BYTES = 128 * 2**20  # of a file that is read in one call; a larger one is read frame after frame

# What may become of a damaged file. The last three may never be seen.
GOOD = ("refused when opened", "refused when decoded", "read")
BAD = ("silent wrong count", "hung", "process died")


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    mutation: str
    clip: str
    outcome: str
    detail: str  # the message, or the counts that differ
    scan: str  # what the scan calls it
    num_frames: int  # that the reader gives; 0 where it refuses
    num_frames_before: int  # of the clip before it was damaged


def mutate(seed: int, clips: Sequence[Path]) -> tuple[str, Path, bytes]:
    """The name of the mutation, the clip it was made from, and the damaged content."""
    rng = np.random.default_rng(seed)
    clip, other = (clips[i] for i in rng.integers(0, len(clips), 2))
    content, foreign = bytearray(clip.read_bytes()), other.read_bytes()
    size = len(content)
    name = ("bytes flipped", "truncated", "spliced", "header swapped", "block zeroed")[seed % 5]
    if name == "bytes flipped":
        for place in rng.integers(0, size, int(rng.choice([1, 8, 64, max(1, size // 100)]))):
            content[place] ^= int(rng.integers(1, 256))
    elif name == "truncated":
        del content[int(rng.integers(0, size)) :]
    elif name == "spliced":
        content[int(rng.integers(0, size)) :] = foreign[int(rng.integers(0, len(foreign))) :]
    elif name == "header swapped":
        length = int(rng.choice([16, 64, 512, 4096]))
        content[:length] = foreign[:length]
    else:
        start = int(rng.integers(0, size))
        length = min(size - start, int(rng.choice([16, 512, 4096, 65536])))
        content[start : start + length] = bytes(length)
    return name, clip, bytes(content)


@dataclass(frozen=True)
class FuzzJob:
    """The job of a worker pool: a row is the seed of a file."""

    clips: tuple[Path, ...]

    def name(self, seed: int) -> str:
        return f"seed {seed}"

    def run(self, seed: int, allow: Callable[[float], None]) -> Outcome:
        mutation, clip, content = mutate(seed, self.clips)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{seed}{clip.suffix}"
            file.write_bytes(content)
            outcome, detail, count = read_whole(file)
            kind = scan_file(ScanFile(path=file.name, file=file, entry=None)).kind
        return Outcome(mutation, clip.name, outcome, detail, kind, count, decode_fully(clip).num_frames)


def read_whole(file: Path) -> tuple[str, str, int]:
    """Outcome, detail and number of frames: every frame is asked for, and counted against a plain decode."""
    try:
        reader = VideoReader(file)
    except DataError as error:
        return "refused when opened", _message(error, file), 0
    with reader:
        count = len(reader.timestamps)
        try:
            if count * reader.height * reader.width * 3 <= MAX_PIXELS_BYTES:
                num_read = reader.frames_at(range(count)).pixels.shape[0]
            else:
                num_read = sum(1 for _ in reader.frames_in_order(range(count)))
        except DataError as error:
            return "refused when decoded", _message(error, file), 0
    if num_read != count:
        return "silent wrong count", f"asked for {count} frames, got {num_read}", count
    plain = decode_fully(file)
    is_noted = bool(reader.index.shortfall) and count <= plain.num_frames
    if (plain.error is not None or plain.num_frames != count) and not is_noted:
        return "silent wrong count", f"{count} frames, a plain decode gives {plain.num_frames} ({plain.error})", count
    return "read", "", count


def _message(error: DataError, file: Path) -> str:
    message = str(error)
    if "\n" in message or str(file) not in message:
        raise AssertionError(f"not one line that names the file: {message!r}")
    return message.replace(str(file), "FILE")
