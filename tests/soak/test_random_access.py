"""Random access on a whole folder of footage: `pytest -m soak tests/soak/test_random_access.py --clips-dir DIR`."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.index_store import IndexStore
from tubelet.data.packet_index import PacketIndex
from tubelet.data.video import VideoReader, is_video_path
from tubelet.errors import VideoError

pytestmark = pytest.mark.soak

ROUNDS = 20  # of random indices for each file


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "file" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("--clips-dir")
        files = sorted(path for path in folder.rglob("*") if is_video_path(path))
        metafunc.parametrize("file", files, ids=[str(path.relative_to(folder)) for path in files])


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


def test_random_access_gives_the_planes_of_a_full_decode(file: Path, tmp_path: Path) -> None:
    expected, whole = decoded_until_damage(file)
    store = IndexStore.beside(tmp_path)
    store.put({file: PacketIndex.of(file)})
    rng, compared = np.random.default_rng(0), 0
    with VideoReader(file, store.get(file)) as reader:
        assert len(reader.timestamps) == len(expected) or not whole
        for _ in range(ROUNDS):
            wanted = np.unique(rng.integers(0, len(reader.timestamps), rng.integers(1, 9)))
            try:
                for index, frame, damaged in reader._fetch(wanted):
                    if not damaged and (whole or index < len(expected)):
                        assert hash(planes(frame)) == expected[index], index
                        compared += 1
            except (VideoError, av.FFmpegError):
                assert not whole
    assert compared > 0
