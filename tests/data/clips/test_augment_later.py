"""Augmentation that the readers leave to the device gives the same clips as augmentation by the readers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tubelet.data.clips.augment_config import AugmentConfig, ErasingConfig, RandAugmentConfig
from tubelet.data.clips.pixel_augmentation import UnaugmentedBatch, augment_batch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.protocol import Protocol
from tubelet.types import Batch

PROTOCOL = Protocol(num_frames=3, frame_stride=1, resize_short_side=20, crop_size=(16, 16))
EVERYTHING: dict[str, dict[str, Any]] = {
    "flip and colors": {
        "flip_probability": 0.5,
        "flip_label_map": {"a": "b", "b": "a"},
        **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "grayscale_probability": 0.3},
    },
    "operations": {"rand_augment": RandAugmentConfig(ops="timm", num_ops=3, magnitude=7.0)},
    "erasing": {"erasing": ErasingConfig(probability=0.8, fill="noise")},
    "volumes": {"volume_flips": True, "volume_turns": True, "volume_shift_pixels": 3},
    "repeats": {"repeats": 2, "brightness_shift": 0.3},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(9):
        file = tmp_path / "ab"[i % 2] / f"{i}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, np.random.default_rng(i).integers(0, 256, (6, 24, 28, 3), dtype=np.uint8))
    (tmp_path / "a" / "broken.npy").write_bytes(b"no array")
    return tmp_path


def batches(root: Path, augment: AugmentConfig, *, augment_later: bool, num_workers: int = 0) -> list[Batch]:
    manifest = read_manifest(root, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    dataset = ClipDataset(manifest, PROTOCOL, "train", augment, seed=5, augment_later=augment_later)
    with Loader(dataset, 5, num_workers=num_workers, seed=5) as loader:
        return [batch for epoch in range(2) for batch in loader.train_batches(epoch)]


def assert_equal_batches(first: Batch, second: Batch) -> None:
    assert type(first) is type(second)
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert one.equal(other) if isinstance(one, torch.Tensor) else one == other, field.name


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_batch_finished_on_the_device_is_the_one_that_readers_finish(root: Path, kind: str) -> None:
    augment = AugmentConfig(**EVERYTHING[kind])
    finished, left = (batches(root, augment, augment_later=later) for later in (False, True))
    assert any(batch.failures for batch in left)  # the broken file is among them
    for batch, other in zip(finished, left, strict=True):
        assert isinstance(other, UnaugmentedBatch)
        assert not torch.equal(other.clips, batch.clips)
        assert_equal_batches(augment_batch(other, torch.device("cpu")), batch)


def test_what_is_left_travels_through_reading_processes(root: Path) -> None:
    augment = AugmentConfig(**EVERYTHING["flip and colors"])
    here = batches(root, augment, augment_later=True)
    there = batches(root, augment, augment_later=True, num_workers=2)
    for batch, other in zip(here, there, strict=True):
        assert_equal_batches(batch, other)


def test_a_finished_batch_is_left_alone(root: Path) -> None:
    batch = batches(root, AugmentConfig(brightness=0.4), augment_later=False)[0]
    assert augment_batch(batch, torch.device("meta")) is batch
