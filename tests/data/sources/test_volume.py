from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.sources.volume import (
    ArrayReader,
    frames_from_array,
    is_volume,
    npz_members,
    read_volume,
)
from tubelet.errors import DataError


def random_volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def assert_one_line(caught: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_one_channel_is_repeated(tmp_path: Path) -> None:
    volume = random_volume(6, 4, 5)
    np.save(tmp_path / "v.npy", volume)
    frames = read_volume(tmp_path / "v.npy", None, 3)
    assert frames.shape == (6, 3, 4, 5)
    for channel in range(3):
        assert np.array_equal(frames[:, channel].numpy(), volume)
    assert read_volume(tmp_path / "v.npy", None, 1).shape == (6, 1, 4, 5)


def test_color_volumes_keep_their_channels(tmp_path: Path) -> None:
    volume = random_volume(6, 4, 5, 3)
    np.save(tmp_path / "v.npy", volume)
    frames = read_volume(tmp_path / "v.npy", None, 3)
    assert np.array_equal(frames.numpy(), volume.transpose(0, 3, 1, 2))
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "v.npy", None, 1)
    assert_one_line(caught, "v.npy", "3 channels", "expected 1")


def test_npz_entries_are_single_volumes(tmp_path: Path) -> None:
    volumes = random_volume(3, 6, 4, 5)
    np.savez_compressed(tmp_path / "set.npz", test_images=volumes)
    for i in range(3):
        assert np.array_equal(read_volume(tmp_path / "set.npz", f"test_images[{i}]", 1)[:, 0].numpy(), volumes[i])


def test_a_rewritten_npz_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    for value in (1, 2):
        np.savez(path, test_images=np.full((1, 2, 2, 2), value, np.uint8))
        os.utime(path, ns=(value, value))
        assert read_volume(path, "test_images[0]", 1).unique().tolist() == [value]


@pytest.mark.parametrize("entry", [None, "test_images", "test_images[3]", "val_images[0]"])
def test_wrong_addresses_are_refused(tmp_path: Path, entry: str | None) -> None:
    np.savez(tmp_path / "set.npz", test_images=random_volume(3, 6, 4, 5))
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "set.npz", entry, 1)
    assert_one_line(caught, str(tmp_path / "set.npz"))


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (np.zeros((4, 4, 4), np.float32), ["float32", "expected uint8 from 0 to 255"]),
        (np.zeros((4, 4, 4), np.int64), ["int64", "expected uint8"]),
        (np.zeros((4, 4), np.uint8), ["(4, 4)", "[T, H, W]"]),
        (np.zeros((0, 4, 4), np.uint8), ["(0, 4, 4)", "none of them 0"]),
        (np.array([{}], dtype=object), ["Object arrays cannot be loaded"]),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path: Path, array: np.ndarray, parts: list[str]) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "v.npy", None, 3)
    assert_one_line(caught, str(tmp_path / "v.npy"), *parts)


@pytest.mark.parametrize("name", ["v.npy", "v.npz"])
def test_truncated_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "v.npz":
        np.savez_compressed(path, test_images=random_volume(2, 9, 9, 9))
    else:
        np.save(path, random_volume(9, 9, 9))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError) as caught:
        read_volume(path, "test_images[0]", 3)
    assert_one_line(caught, str(path))


def test_members_are_described_without_their_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", a=random_volume(3, 6, 4, 5), b=np.zeros((3, 1)))
    members = npz_members(tmp_path / "set.npz")
    assert {name: (m.shape, str(m.dtype)) for name, m in members.items()} == {
        "a": ((3, 6, 4, 5), "uint8"),
        "b": ((3, 1), "float64"),
    }


def test_slice_numbers_are_times_and_frames_are_copies() -> None:
    pixels = torch.from_numpy(random_volume(6, 3, 4, 5))
    with ArrayReader(pixels) as reader:
        assert reader.timestamps.tolist() == [0, 1, 2, 3, 4, 5]
        assert (reader.fps, reader.duration_seconds, reader.height, reader.width) == (1.0, 6.0, 4, 5)
        frames = reader.frames_at([4, 0, 4])
    assert frames.seconds == (4.0, 0.0, 4.0)
    assert torch.equal(frames.pixels, pixels[[4, 0, 4]])
    frames.pixels.zero_()
    assert pixels.any()


def test_frame_rate_of_an_array_gives_times() -> None:
    reader = ArrayReader(torch.zeros(5, 3, 2, 2, dtype=torch.uint8), fps=4.0)
    assert reader.timestamps.tolist() == [0, 0.25, 0.5, 0.75, 1.0]
    assert reader.duration_seconds == 1.25


def test_read_only_arrays_are_accepted() -> None:
    array = random_volume(6, 4, 5)
    array.flags.writeable = False
    assert np.array_equal(frames_from_array(array, 1, "array")[:, 0].numpy(), array)


def test_volumes_are_known_by_suffix() -> None:
    assert is_volume("a.npy")
    assert is_volume(Path("b.NPZ"))
    assert not is_volume("c.mp4")
