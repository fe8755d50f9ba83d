from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.frame_sampling import view_clips
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.resize_crop import view_geometry
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.read_views import read_views
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.volume import ArrayReader
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, DataError, TubeletError
from tubelet.protocol import Protocol
from tubelet.types import Frames

PROTOCOL = Protocol(
    num_frames=4,
    frame_stride=2,
    resize_short_side=20,
    crop_size=(16, 16),
    num_temporal_views=2,
    num_spatial_crops=3,
)
WHOLE = dataclasses.replace(PROTOCOL, crop_size=(20, 20))


def save_volume(path: Path, num_slices: int = 24, size: tuple[int, int] = (20, 20), seed: int = 0) -> np.ndarray:
    volume = np.random.default_rng(seed).integers(0, 256, size=(num_slices, *size), dtype=np.uint8)
    np.save(path, volume)
    return volume


def manifest_of(root: Path, *paths: str, classes: Sequence[str] = ("a", "b"), **fields: float) -> Manifest:
    samples = tuple(
        Sample(path=path, labels=(i % len(classes),), split="train", **fields)  # type: ignore[arg-type]
        for i, path in enumerate(paths)
    )
    return Manifest(root=root, samples=samples, class_names={"label": tuple(classes)}, layout="files")


def assert_one_line(caught: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# Training clips


def test_a_training_item_is_one_clip_with_its_label(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    write_video(tmp_path / "v.mp4")
    save_volume(tmp_path / "v.npy")
    dataset = ClipDataset(manifest_of(tmp_path, "v.mp4", "v.npy"), PROTOCOL)
    assert len(dataset) == 2
    for index in range(2):
        item = dataset.read(index)
        assert item.pixels.shape == dataset.item_shape == (3, 4, 16, 16)
        assert item.pixels.dtype == torch.uint8
        assert item.pixels.is_contiguous()
        assert item.pixels.any()
        assert item.labels == (index,)
        assert item.seconds_covered > 0


@pytest.mark.parametrize("snap", [True, False])
def test_clips_of_videos_start_at_even_frames_and_those_of_volumes_anywhere(
    tmp_path: Path, write_video: Callable[..., Path], snap: bool
) -> None:
    write_video(tmp_path / "v.mp4", num_frames=40, size=(20, 20))
    volume = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None], (40, 20, 20))
    np.save(tmp_path / "v.npy", volume)
    dataset = ClipDataset(manifest_of(tmp_path, "v.mp4", "v.npy"), WHOLE, augment=AugmentConfig(snap_start=snap))
    with VideoReader(tmp_path / "v.mp4") as reader:
        frames = reader.frames_at(range(40)).pixels
    clips = [dataset.read(0, epoch).pixels for epoch in range(12)]
    starts = {index for index in range(40) for clip in clips if clip[:, 0].equal(frames[index])}
    assert len(starts) > 3
    assert all(start % 2 == 0 for start in starts) == snap
    assert len({int(dataset.read(1, epoch).pixels[0, 0, 0, 0]) % 2 for epoch in range(12)}) == 2


def test_randomness_is_keyed_by_seed_epoch_and_row_only(tmp_path: Path) -> None:
    save_volume(tmp_path / "v.npy", size=(40, 60))
    manifest = manifest_of(tmp_path, *["v.npy"] * 4)
    augment = AugmentConfig(flip_probability=0.5, random_resized_crop=(0.3, 1.0), brightness=0.3)
    dataset = ClipDataset(manifest, PROTOCOL, augment=augment, seed=1)
    forward = {(e, i): dataset.read(i, e).pixels for e in range(3) for i in range(4)}
    again = ClipDataset(manifest, PROTOCOL, augment=augment, seed=1)
    for epoch, index in reversed(forward):
        assert torch.equal(again.read(index, epoch).pixels, forward[epoch, index])
    other_seed = ClipDataset(manifest, PROTOCOL, augment=augment, seed=2)
    clips = [*forward.values(), other_seed.read(0, 0).pixels]
    assert len({clip.numpy().tobytes() for clip in clips}) == len(clips)


def test_keys_of_another_length_give_other_numbers() -> None:
    draws = {keyed_generator(0, *key).random() for key in ((), (0,), (0, 0), (0, 0, 0), (1,), (0, 1), (1, 0))}
    assert len(draws) == 7


def test_all_frames_of_a_training_clip_get_the_same_crop_and_flip(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 256, size=(1, 40, 60), dtype=np.uint8).repeat(24, axis=0)
    np.save(tmp_path / "still.npy", still)
    augment = AugmentConfig(flip_probability=0.5, scale_jitter=(0.9, 1.3), contrast=0.3)
    dataset = ClipDataset(manifest_of(tmp_path, "still.npy"), PROTOCOL, augment=augment)
    clips = [dataset.read(0, epoch).pixels for epoch in range(10)]
    for clip in clips:
        for t in range(1, 4):
            assert torch.equal(clip[:, t], clip[:, 0])
    assert len({clip.numpy().tobytes() for clip in clips}) == 10


def test_a_mirrored_clip_gets_the_mirrored_label(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.tile(np.arange(20, dtype=np.uint8), (24, 20, 1)))
    manifest = manifest_of(tmp_path, "v.npy", "v.npy", "v.npy", classes=("left", "right", "still"))
    swap = {"left": "right", "right": "left"}
    dataset = ClipDataset(manifest, WHOLE, augment=AugmentConfig(flip_probability=0.5, flip_label_map=swap))
    seen = set()
    for epoch in range(12):
        for index, mirrored_label in ((0, 1), (1, 0), (2, 2)):
            item = dataset.read(index, epoch)
            mirrored = bool(item.pixels[0, 0, 0, 0] > item.pixels[0, 0, 0, -1])
            assert item.labels == ((mirrored_label,) if mirrored else (index,))
            seen.add((index, mirrored))
    assert len(seen) == 6


def test_a_segment_shows_only_its_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(24, dtype=np.uint8)[:, None, None].repeat(20, 1).repeat(20, 2))
    manifest = manifest_of(tmp_path, "v.npy", start_seconds=10.0, end_seconds=19.0)
    for mode in ("train", "views"):
        dataset = ClipDataset(manifest, PROTOCOL, mode)  # type: ignore[arg-type]
        shown = {value for epoch in range(20) for value in dataset.read(0, epoch).pixels.unique().tolist()}
        assert shown <= set(range(10, 19))
        assert len(shown) > 4
    assert "[10-19 s]" in dataset.name(0)


# Views


def test_views_are_crops_outside_and_clips_inside(tmp_path: Path) -> None:
    volume = save_volume(tmp_path / "v.npy", size=(20, 30))
    item = ClipDataset(manifest_of(tmp_path, "v.npy"), PROTOCOL, "views").read(0)
    assert item.pixels.shape == (6, 3, 4, 16, 16)
    plans = view_clips(np.arange(24.0), PROTOCOL)
    corners = view_geometry(20, 30, PROTOCOL).crops
    for view, pixels in enumerate(item.pixels):
        (top, left), plan = corners[view // 2], plans[view % 2]
        expected = volume[list(plan.indices), top : top + 16, left : left + 16]
        assert np.array_equal(pixels[0].numpy(), expected)


def test_views_of_one_video_differ(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    item = read_views(write_video(tmp_path / "v.mp4", num_frames=30), PROTOCOL)
    assert len({view.numpy().tobytes() for view in item.pixels}) == 6


def test_each_frame_is_read_once_for_all_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    frames_at = ArrayReader.frames_at

    def recording(reader: ArrayReader, indices: Sequence[int]) -> Frames:
        read.extend(indices)
        return frames_at(reader, indices)

    monkeypatch.setattr(ArrayReader, "frames_at", recording)
    save_volume(tmp_path / "v.npy", num_slices=9)
    read_views(tmp_path / "v.npy", dataclasses.replace(PROTOCOL, num_temporal_views=4))
    assert len(read) == len(set(read)) > 0


def test_reading_in_parts_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_volume(tmp_path / "v.npy", size=(37, 53))
    whole = read_views(tmp_path / "v.npy", PROTOCOL)
    monkeypatch.setattr("tubelet.data.loading.read_views._SOURCE_BYTES", 3 * 37 * 53 * 2)
    assert torch.equal(read_views(tmp_path / "v.npy", PROTOCOL).pixels, whole.pixels)


def test_files_arrays_and_tensors_give_the_same_views(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, size=(24, 25, 30, 3), dtype=np.uint8)
    np.save(tmp_path / "v.npy", volume)
    manifest = manifest_of(tmp_path, "v.npy")
    expected = ClipDataset(manifest, PROTOCOL, "views").read(0)
    sources = (tmp_path / "v.npy", str(tmp_path / "v.npy"), volume, torch.from_numpy(volume).permute(3, 0, 1, 2))
    for source in sources:
        assert torch.equal(read_views(source, PROTOCOL).pixels, expected.pixels)
    assert expected.labels == (0,)
    assert read_views(volume, PROTOCOL).labels == ()


def test_a_short_video_is_looped_and_says_so(tmp_path: Path) -> None:
    save_volume(tmp_path / "v.npy", num_slices=3)
    manifest = manifest_of(tmp_path, "v.npy")
    for mode in ("train", "views"):
        assert ClipDataset(manifest, PROTOCOL, mode).read(0).notes  # type: ignore[arg-type]
    strict = dataclasses.replace(PROTOCOL, short_video="error")
    with pytest.raises(TubeletError):
        read_views(tmp_path / "v.npy", strict)


def test_seconds_covered_count_overlapping_clips_once() -> None:
    one_clip = dataclasses.replace(WHOLE, num_temporal_views=1, num_spatial_crops=1)
    array = np.zeros((8, 20, 20), np.uint8)
    single = read_views(array, one_clip).seconds_covered
    assert read_views(array, dataclasses.replace(one_clip, num_temporal_views=5)).seconds_covered == single
    long = np.zeros((80, 20, 20), np.uint8)
    assert read_views(long, dataclasses.replace(one_clip, num_temporal_views=5)).seconds_covered == 5 * single


def test_rate_of_an_array_makes_its_numbers_seconds() -> None:
    array = np.random.default_rng(0).integers(0, 256, size=(40, 20, 20), dtype=np.uint8)
    by_time = dataclasses.replace(WHOLE, frame_stride=None, target_fps=5.0)
    by_frames = dataclasses.replace(WHOLE, frame_stride=2)
    timed = read_views(array, by_time, fps=10.0)
    assert torch.equal(timed.pixels, read_views(array, by_frames).pixels)
    with pytest.raises(DataError, match="give the array's fps"):
        read_views(array, by_time)


# What does not fit


def test_a_file_with_a_rate_argument_is_refused(tmp_path: Path) -> None:
    save_volume(tmp_path / "v.npy")
    with pytest.raises(DataError, match="leave it out"):
        read_views(tmp_path / "v.npy", PROTOCOL, fps=10.0)


@pytest.mark.parametrize("content", [b"", b"this is a text"])
def test_files_that_are_no_video_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        ClipDataset(manifest_of(tmp_path, "v.mp4"), PROTOCOL).read(0)
    assert_one_line(caught, str(path))


def test_a_video_does_not_fit_a_one_channel_protocol(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "v.mp4")
    gray = dataclasses.replace(PROTOCOL, num_channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(DataError) as caught:
        read_views(path, gray)
    assert_one_line(caught, str(path), "3 channels", "1")


def test_augmentation_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "v.mp4")
    swap = {"a": "lefft", "lefft": "a"}
    for mode, augment in (
        ("views", AugmentConfig(flip_probability=0.5)),
        ("train", AugmentConfig(volume_flips=True)),
        ("train", AugmentConfig(volume_shift_pixels=2)),
        ("train", AugmentConfig(flip_probability=0.5, flip_label_map=swap)),
    ):
        with pytest.raises(ConfigError):
            ClipDataset(manifest, PROTOCOL, mode, augment)  # type: ignore[arg-type]
