"""Random access gives the frames of a full decode: `make soak`; writes random_access.json.

python -m pytest -m soak tests/soak/test_random_access_of_real_files.py --clips-dir FOLDER
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import VideoError

pytestmark = pytest.mark.soak

ROUNDS = 20  # of random indices for each file


def planes(frame: av.VideoFrame) -> bytes:
    """The decoder's own planes, without the padding of their lines."""
    bits = 2 if "10le" in frame.format.name else 1
    lines = [(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size), plane) for plane in frame.planes]
    return b"".join(pixels[: plane.height, : plane.width * bits].tobytes() for pixels, plane in lines)


def decoded_until_damage(file: Path) -> tuple[list[int], bool]:
    """A hash of every frame of a full decode, and whether it came to the end."""
    hashes = []
    try:
        with av.open(f"file:{file}") as container:
            for frame in container.decode(container.streams.best("video")):
                hashes.append(hash(planes(frame)))
    except av.FFmpegError:
        return hashes, False
    return hashes, True


@dataclass
class Compared:
    """What came of one clip."""

    clip: str
    num_frames: int  # of the clip, decoded once from its beginning
    num_compared: int = 0  # frames asked for by index, in rounds of one to eight random ones
    num_different: int = 0
    refused: int = 0  # rounds that ended with an error; of a damaged clip alone


def compared(file: Path, store: IndexStore) -> Compared:
    """Every round of random indices of one clip."""
    expected, whole = decoded_until_damage(file)
    found, rng = Compared(clip=file.name, num_frames=len(expected)), np.random.default_rng(0)
    store.put({file: PacketIndex.of(file)})
    with VideoReader(file, store.get(file)) as reader:
        assert len(reader.timestamps) == len(expected) or not whole
        for _ in range(ROUNDS):
            wanted = np.unique(rng.integers(0, len(reader.timestamps), rng.integers(1, 9)))
            try:
                for index, frame, damaged in reader._fetch(wanted):
                    if not damaged and (whole or index < len(expected)):
                        found.num_compared += 1
                        found.num_different += hash(planes(frame)) != expected[index]
            except (VideoError, av.FFmpegError):
                assert not whole
                found.refused += 1
    return found


def test_random_access_gives_the_planes_of_a_full_decode(
    clips: tuple[Path, ...], clips_option: str, tmp_path: Path, results: Path
) -> None:
    found = [compared(file, IndexStore.beside(tmp_path)) for file in clips]
    content = {
        "command": f"python -m pytest -m soak tests/soak/test_random_access_of_real_files.py{clips_option}",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"av": version("av")},
        "rounds_per_clip": ROUNDS,
        "num_clips": len(found),
        "frames_compared": sum(clip.num_compared for clip in found),
        "frames_different": sum(clip.num_different for clip in found),
        "clips": [asdict(clip) for clip in found],
    }
    (results / "random_access.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    assert all(clip.num_compared > 0 for clip in found)
    assert content["frames_different"] == 0
