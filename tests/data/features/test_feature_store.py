"""A feature store gives the frames that the videos would give, and is refused where it could not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import assert_one_line
from tubelet.config import to_dict
from tubelet.data.clips.augment_config import AugmentConfig, MixConfig
from tubelet.data.features.dataset import FeatureDataset
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.features.store import (
    FeatureFile,
    StoreRecord,
    VideoFeatures,
    file_name,
    write_failure,
    write_features,
)
from tubelet.data.layouts.feature_store import LAYOUT, MANIFEST, RECORD
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_atomically
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=4, frame_stride=3, resize_short_side=8, crop_size=(8, 8), num_temporal_views=3, num_spatial_crops=1
)
RECORD_OF_NUMBERS = StoreRecord(
    model_name="numbers",
    model_config={},
    feature_dim=2,
    stage_sha256="0" * 64,
    protocol=PROTOCOL,
    source="data",
    data_fingerprint="0",
)
LENGTHS = (40, 25, 13, 7, 2)


def both(root: Path) -> tuple[Manifest, Manifest]:
    """Volumes whose pixels are the number of their frame, and a store whose vectors are."""
    (root / "data").mkdir()
    samples, stored = [], []
    for i, length in enumerate(LENGTHS):
        frames = np.broadcast_to(np.arange(length, dtype=np.uint8)[:, None, None, None], (length, 8, 8, 3))
        np.save(root / "data" / f"{length}.npy", frames)
        sample = Sample(path=f"{length}.npy", labels=(i % 2,), split="train")
        if length == 40:
            sample = dataclasses.replace(sample, start_seconds=11.0, end_seconds=37.0)
        name = file_name(RECORD_OF_NUMBERS, sample.path, None, None)
        numbers = torch.arange(length, dtype=torch.float32)[:, None].expand(-1, 2)
        features = VideoFeatures(
            vectors=numbers, frame_numbers=np.arange(length), timestamps=np.arange(float(length)), is_video=False
        )
        write_features(root / "store" / name, features)
        samples.append(sample)
        stored.append(dataclasses.replace(sample, path=name))
    classes = {"label": ("a", "b")}
    manifest = Manifest(root=root / "data", samples=tuple(samples), class_names=classes, layout="files")
    of_store = Manifest(root=root / "store", samples=tuple(stored), class_names=classes, layout=LAYOUT)
    write_atomically(root / "store" / RECORD, json.dumps(to_dict(RECORD_OF_NUMBERS)))
    write_manifest(of_store, root / "store" / MANIFEST)
    return manifest, read_manifest(root / "store")


SAMPLINGS: dict[str, dict[str, Any]] = {
    "by stride": {},
    "by time": {"frame_stride": None, "target_fps": 0.7},
    "uniform": {"sampling": "uniform"},
    "sparse": {"sampling": "sparse"},
    "held": {"short_video": "hold"},
    "longer": {"num_frames": 30, "frame_stride": 1},
}


@pytest.mark.parametrize("fields", SAMPLINGS.values(), ids=SAMPLINGS)
def test_training_draws_the_frames_that_it_draws_of_the_videos(tmp_path: Path, fields: dict[str, Any]) -> None:
    videos, store = both(tmp_path)
    protocol = dataclasses.replace(PROTOCOL, **fields)
    augment = AugmentConfig(crop="center", repeats=2)
    if protocol.sampling == "dense":
        augment = dataclasses.replace(augment, stride_jitter=(0.4, 1.7))
    ours = make_dataset(store, protocol, "train", augment, seed=3)
    theirs = ClipDataset(videos, protocol, "train", augment, seed=3)
    assert isinstance(ours, FeatureDataset)
    for epoch in range(3):
        for index in range(2 * len(videos)):
            mine, other = ours.read(index, epoch), theirs.read(index, epoch)
            assert mine.pixels[:, 0].tolist() == other.pixels[0, :, 0, 0].tolist()
            assert mine.frame_numbers.tolist() == other.frame_numbers.tolist()
            assert (mine.labels, mine.notes) == (other.labels, other.notes)
            assert mine.seconds_covered == pytest.approx(other.seconds_covered)


@pytest.mark.parametrize("fields", SAMPLINGS.values(), ids=SAMPLINGS)
def test_views_have_the_frames_of_the_videos_views(tmp_path: Path, fields: dict[str, Any]) -> None:
    videos, store = both(tmp_path)
    protocol = dataclasses.replace(PROTOCOL, **fields)
    ours, theirs = make_dataset(store, protocol, "views"), ClipDataset(videos, protocol, "views")
    for index in range(len(videos)):
        mine, other = ours.read(index), theirs.read(index)
        assert torch.equal(mine.pixels[..., 1].long(), other.pixels[:, 0, :, 0, 0].long())
        assert torch.equal(mine.frame_numbers, other.frame_numbers)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_hold_vectors_and_count_what_could_not_be_read(tmp_path: Path, num_workers: int) -> None:
    _, store = both(tmp_path)
    write_failure(store.path_of(store.samples[1]), "25.npy: the file is damaged")
    with Loader(make_dataset(store, PROTOCOL, "views"), batch_size=5, num_workers=num_workers) as loader:
        (batch,) = loader.eval_batches()
    assert batch.clips.shape == (5, 3, 4, 2)
    assert batch.clips.dtype == torch.float32
    assert batch.weight.tolist() == [1, 0, 1, 1, 1]
    assert batch.failures == ("25.npy: the file is damaged",)
    assert torch.equal(batch.clips[2, ..., 0] - batch.clips[2, ..., :1, 0], batch.frame_numbers[2].float())


@pytest.mark.parametrize(
    ("augment", "named"),
    [
        ({"crop": "random"}, "augment.crop"),
        ({"crop": "center", "flip_probability": 0.5}, "augment.flip_probability=0.0"),
        ({"crop": "center", "brightness": 0.4}, "augment.brightness"),
        ({"crop": "center", "mix": MixConfig(mixup=0.2)}, "augment.mix"),
        ({"crop": "center", "trivial_augment": True}, "augment.trivial_augment=false"),
    ],
)
def test_augmentation_of_pixels_is_refused_by_name(tmp_path: Path, augment: dict[str, Any], named: str) -> None:
    _, store = both(tmp_path)
    with pytest.raises(ConfigError) as caught:
        make_dataset(store, PROTOCOL, "train", AugmentConfig(**augment))
    assert_one_line(caught, named)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"crop_size": (4, 4)}, "crop_size"),
        ({"mean": (0.1, 0.5, 0.5)}, "mean"),
        ({"channel_order": "bgr"}, "channel_order"),
        ({"num_spatial_crops": 3}, "one spatial crop"),
    ],
)
def test_other_pixels_are_refused_by_name(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    _, store = both(tmp_path)
    with pytest.raises(DataError) as caught:
        make_dataset(store, dataclasses.replace(PROTOCOL, **fields), "views")
    assert_one_line(caught, named)


def test_an_unfinished_store_is_told(tmp_path: Path) -> None:
    both(tmp_path)
    (tmp_path / "store" / MANIFEST).unlink()
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "store")
    assert_one_line(caught, "not finished", "tubelet features")


def test_a_damaged_file_and_a_frame_without_features_are_told(tmp_path: Path) -> None:
    _, store = both(tmp_path)
    file = store.path_of(store.samples[2])
    with FeatureFile(file) as features, pytest.raises(DataError) as caught:
        features.vectors_of(np.array([3, 13]))
    assert_one_line(caught, str(file), "no features")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        make_dataset(store, PROTOCOL, "views").read(2)
    assert_one_line(caught, str(file))


def test_file_names_tell_sources_weights_and_pixels_apart() -> None:
    other_weights = dataclasses.replace(RECORD_OF_NUMBERS, stage_sha256="1" * 64)
    other_pixels = dataclasses.replace(RECORD_OF_NUMBERS, protocol=dataclasses.replace(PROTOCOL, crop_size=(4, 4)))
    other_clips = dataclasses.replace(RECORD_OF_NUMBERS, protocol=dataclasses.replace(PROTOCOL, num_frames=9))
    sources = [
        ("a/b.mp4", None),
        ("a/b.mp4", "x"),
        ("../a/b.mp4", None),
        ("/a/b.mp4", None),
        ("a/b?.mp4", None),
        ("a/b*.mp4", None),
    ]
    names = [
        file_name(record, *source, None)
        for record in (RECORD_OF_NUMBERS, other_weights, other_pixels)
        for source in sources
    ]
    assert len(set(names)) == len(names)
    assert file_name(other_clips, "a/b.mp4", None, None) == names[0]
    for name in names:
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
