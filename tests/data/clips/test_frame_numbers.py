"""The numbers of a clip's frames are those of the source, from the clip's earliest frame on, however it was drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.read_views import read_views
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.synthetic import write_motion_set
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=4, frame_stride=3, resize_short_side=8, crop_size=(8, 8), num_temporal_views=3, num_spatial_crops=1
)
CLASSES = {"label": ("a", "b")}
LENGTHS = (40, 25, 13, 7, 2)


def dataset(root: Path, mode: Any = "train", augment: AugmentConfig | None = None, **protocol: Any) -> ClipDataset:
    """Volumes whose every pixel is the number of its frame: a clip shows by itself where it was taken."""
    for length in LENGTHS:
        frames = np.broadcast_to(np.arange(length, dtype=np.uint8)[:, None, None], (length, 8, 8))
        np.save(root / f"{length}.npy", np.stack([frames] * 3, axis=-1))
    samples = tuple(Sample(path=f"{length}.npy", labels=(0,), split="train") for length in LENGTHS)
    manifest = Manifest(root=root, samples=samples, class_names=CLASSES, layout="files")
    return ClipDataset(manifest, dataclasses.replace(PROTOCOL, **protocol), mode, augment)


def shown(pixels: Tensor) -> Tensor:
    """The frame numbers that the pixels themselves tell, from the earliest on: of ``[..., C, T, H, W]``."""
    numbers = pixels[..., 0, :, 0, 0].long()
    return numbers - numbers.amin(-1, keepdim=True)


@pytest.mark.parametrize("short_video", ["loop", "hold"])
@pytest.mark.parametrize("sampling", ["dense", "by time", "uniform", "sparse"])
def test_training_clips_carry_the_numbers_of_the_frames_they_show(
    tmp_path: Path, sampling: str, short_video: str
) -> None:
    fields: dict[str, Any] = {"sampling": sampling}
    if sampling == "by time":  # a volume has one frame per second
        fields = {"frame_stride": None, "target_fps": 0.7}
    data = dataset(tmp_path, short_video=short_video, **fields)
    for epoch in range(4):
        for index in range(len(data)):
            item = data.read(index, epoch)
            assert item.frame_numbers.tolist() == shown(item.pixels).tolist()


def test_a_jittered_stride_and_repeated_draws_have_their_own_numbers(tmp_path: Path) -> None:
    data = dataset(tmp_path, augment=AugmentConfig(stride_jitter=(0.3, 2.0), repeats=2))
    found = set()
    for index in range(2 * len(data)):
        item = data.read(index)
        assert item.frame_numbers.tolist() == shown(item.pixels).tolist()
        found.add(tuple(item.frame_numbers.tolist()))
    assert len(found) > 4


def test_short_videos_repeat_numbers(tmp_path: Path) -> None:
    looped = dataset(tmp_path, "views", num_temporal_views=1).read(LENGTHS.index(7))
    held = dataset(tmp_path, "views", num_temporal_views=1, short_video="hold").read(LENGTHS.index(7))
    assert looped.frame_numbers.tolist() == [[0, 3, 6, 2]]
    assert held.frame_numbers.tolist() == [[0, 3, 6, 6]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_views_carry_a_row_per_view_in_the_order_of_the_views(tmp_path: Path, num_workers: int) -> None:
    data = dataset(tmp_path, "views", num_spatial_crops=3, resize_short_side=8)
    (tmp_path / "13.npy").write_bytes(b"no volume")
    with Loader(data, batch_size=5, num_workers=num_workers) as loader:
        (batch,) = loader.eval_batches()
    read = batch.weight > 0
    assert batch.frame_numbers.shape == (5, 9, 4)
    assert batch.frame_numbers.dtype == torch.int64
    assert read.tolist() == [True, True, False, True, True]
    assert torch.equal(batch.frame_numbers[read], shown(batch.clips[read]))
    assert not batch.frame_numbers[~read].any()


def test_segments_count_from_the_clip_and_not_from_the_file(tmp_path: Path) -> None:
    write_motion_set(tmp_path, {"train": 8}, size_pixels=32, num_frames=30, fps=10)
    file = next(tmp_path.rglob("*.mp4"))
    protocol = dataclasses.replace(PROTOCOL, num_temporal_views=1)
    whole, part = read_views(file, protocol), read_views(file, protocol, start_seconds=1.0)
    assert whole.frame_numbers.tolist() == part.frame_numbers.tolist() == [[0, 3, 6, 9]]
    assert not torch.equal(whole.pixels, part.pixels)


@pytest.mark.parametrize("snap", [False, True])
def test_a_start_that_is_moved_to_an_even_frame_keeps_its_numbers(tmp_path: Path, snap: bool) -> None:
    write_motion_set(tmp_path, {"train": 8}, size_pixels=32, num_frames=30, fps=10)
    file = next(tmp_path.rglob("*.mp4"))
    manifest = Manifest(
        root=tmp_path,
        samples=(Sample(path=str(file.relative_to(tmp_path)), labels=(0,), split="train"),),
        class_names=CLASSES,
        layout="files",
    )
    data = ClipDataset(manifest, dataclasses.replace(PROTOCOL, frame_stride=2), "train", AugmentConfig(snap_start=snap))
    for epoch in range(6):
        assert data.read(0, epoch).frame_numbers.tolist() == [0, 2, 4, 6]
