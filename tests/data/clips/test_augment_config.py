"""Settings of augmentation: contradictions and settings that could not act are errors; videos stay reproducible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.config import describe, from_dict, to_dict
from tubelet.data.clips.augment_config import AugmentConfig, ErasingConfig, MixConfig, RandAugmentConfig
from tubelet.data.clips.frame_sampling import jittered_sampling
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol
from tubelet.types import Batch

PROTOCOL = Protocol(num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16))
EVERYTHING = AugmentConfig(
    stride_jitter=(0.5, 1.5),
    random_resized_crop=(0.3, 1.0),
    flip_probability=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    color_probability=0.8,
    grayscale_probability=0.1,
    rand_augment=RandAugmentConfig(ops="timm", num_ops=4, magnitude=7.0, magnitude_std=0.5),
    erasing=ErasingConfig(fill="noise"),
    repeats=2,
)


def manifest_of(folder: Path, *names: str) -> Manifest:
    samples = tuple(Sample(path=name, labels=(row % 2,), split="train") for row, name in enumerate(names))
    return Manifest(root=folder, samples=samples, class_names={"label": ("a", "b")}, layout="files")


@pytest.fixture
def videos(tmp_path: Path, write_video: Callable[..., Path]) -> Manifest:
    names = [f"{number}.mp4" for number in range(4)]
    for number, name in enumerate(names):
        write_video(tmp_path / name, seed=number)
    return manifest_of(tmp_path, *names)


@pytest.mark.parametrize(
    "fields",
    [
        {"flip_probability": 1.5},
        {"flip_label_map": {"left": "right", "right": "left"}},
        {"flip_probability": 0.5, "flip_label_map": {"left": "right"}},
        {"scale_jitter": (0.9, 1.3), "random_resized_crop": (0.5, 1.0)},
        {"short_side_jitter": (256, 320), "multi_scale_crop": (1.0, 0.8)},
        {"scale_jitter": (1.3, 0.9)},
        {"short_side_jitter": (320, 256)},
        {"random_resized_crop": (0.5, 1.5)},
        {"crop_aspect_ratio": (0.5, 2.0)},
        {"multi_scale_crop": ()},
        {"multi_scale_crop": (1.2, 1.0)},
        {"stride_jitter": (0.0, 1.0)},
        {"brightness": 2.0},
        {"hue": 0.6},
        {"color_probability": 0.8},
        {"color_probability": 0.8, "grayscale_probability": 0.1},
        {"rand_augment": RandAugmentConfig(), "trivial_augment": True},
        {"repeats": 0},
        {"volume_flips": True, "flip_probability": 0.5},
        {"volume_shift_pixels": -1},
    ],
)
def test_contradictions_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        AugmentConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"area": (0.0, 0.3)}, {"area": (0.1, 1.3)}, {"probability": 2.0}])
def test_impossible_erasing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="erasing"):
        ErasingConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("augment", "protocol", "said"),
    [
        ({"stride_jitter": (0.5, 1.0)}, {"sampling": "uniform"}, "uniform"),
        ({"stride_jitter": (0.5, 1.0)}, {"short_video": "error"}, "by chance"),
        ({"hue": 0.1}, {"num_channels": 1, "mean": (0.5,), "std": (0.5,)}, "hue: need 3 channels"),
        ({"trivial_augment": True}, {"num_channels": 1, "mean": (0.5,), "std": (0.5,)}, "need 3 channels"),
        ({"contrast": 0.1}, {"num_channels": 2, "mean": (0.5,) * 2, "std": (0.5,) * 2}, "1 or 3 channels"),
        ({"volume_turns": True}, {"crop_size": (16, 20)}, "square"),
        ({"short_side_jitter": (10, 30)}, {}, "less than the crop"),
    ],
)
def test_what_cannot_act_on_the_clips_of_a_protocol_is_refused(
    augment: dict[str, object], protocol: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        AugmentConfig(**augment).check_protocol(dataclasses.replace(PROTOCOL, **protocol))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "augment", [{"volume_turns": True}, {"volume_axis": "random"}, {"volume_flips": True}, {"volume_shift_pixels": 1}]
)
def test_what_is_for_volumes_is_refused_on_videos(augment: dict[str, object], videos: Manifest) -> None:
    with pytest.raises(ConfigError, match="for volumes only"):
        ClipDataset(videos, PROTOCOL, augment=AugmentConfig(**augment))  # type: ignore[arg-type]


def test_every_setting_has_a_comment_and_survives_a_file() -> None:
    for key, _, _, comment in describe(AugmentConfig):
        assert comment, key
    config = dataclasses.replace(EVERYTHING, mix=MixConfig(mixup=0.3, partner="reversed"))
    assert from_dict(AugmentConfig, to_dict(config)) == config


def test_nothing_is_on_by_default(videos: Manifest) -> None:
    plain = ClipDataset(videos, PROTOCOL, augment=AugmentConfig(), seed=3)
    assert torch.equal(plain.read(1, epoch=2).pixels, ClipDataset(videos, PROTOCOL, seed=3).read(1, epoch=2).pixels)
    assert not AugmentConfig().mix.is_on


def test_stride_jitter_changes_the_time_between_frames() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(stride_jitter=(0.5, 1.5))
    strides = {jittered_sampling(PROTOCOL, augment, rng).frame_stride for _ in range(100)}
    assert strides == {1, 2, 3}
    by_rate = dataclasses.replace(PROTOCOL, frame_stride=None, target_fps=10.0)
    rates = np.array([jittered_sampling(by_rate, augment, rng).target_fps for _ in range(500)], dtype=float)
    assert 10 / 1.5 <= rates.min() < 6.8
    assert 19 < rates.max() <= 20
    assert jittered_sampling(PROTOCOL, AugmentConfig(), rng) is PROTOCOL


def batches(
    manifest: Manifest, num_workers: int = 0, augment: AugmentConfig = EVERYTHING, start: int = 0
) -> list[Batch]:
    dataset = ClipDataset(manifest, PROTOCOL, augment=augment, seed=5)
    with Loader(dataset, batch_size=2, num_workers=num_workers, seed=5) as loader:
        return list(loader.train_batches(epoch=1, start=start))


def same(ones: Sequence[Batch], others: Sequence[Batch]) -> bool:
    return all(
        torch.equal(a.clips, b.clips) and a.index == b.index and torch.equal(a.labels, b.labels)
        for a, b in zip(ones, others, strict=True)
    )


def test_with_everything_on_clips_do_not_depend_on_workers_or_on_where_a_run_went_on(videos: Manifest) -> None:
    whole = batches(videos)
    assert same(whole, batches(videos, num_workers=2))
    assert same(whole[1:], batches(videos, start=1))


def test_repeated_videos_stand_in_the_batch_again_drawn_anew(videos: Manifest) -> None:
    for batch in batches(videos):
        assert batch.clips.shape[0] == 4
        assert batch.index[:2] == batch.index[2:]
        assert len(set(batch.index)) == 2
        assert torch.equal(batch.labels[:2], batch.labels[2:])
        assert not torch.equal(batch.clips[0], batch.clips[2])
    once = batches(videos, augment=dataclasses.replace(EVERYTHING, repeats=1))
    assert all(torch.equal(a.clips, b.clips[:2]) for a, b in zip(once, batches(videos), strict=True))


def test_an_unreadable_video_fails_each_time_it_is_repeated(videos: Manifest) -> None:
    (videos.root / "2.mp4").write_bytes(b"no video")
    failed = [batch for batch in batches(videos) if batch.failures]
    assert [len(batch.failures) for batch in failed] == [2]
    assert [batch.weight.sum() for batch in failed] == [2]


@pytest.fixture
def volumes(tmp_path: Path) -> Manifest:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).integers(0, 256, (16, 16, 16), dtype=np.uint8))
    return manifest_of(tmp_path, "v.npy")


WHOLE = Protocol(num_frames=16, frame_stride=1, resize_short_side=16, crop_size=(16, 16), num_spatial_crops=1)


def test_a_random_axis_and_turns_and_flips_reach_every_position_of_a_cube(volumes: Manifest) -> None:
    """The 48 ways in which a cube can lie, mirror images included, and nothing else."""
    augment = AugmentConfig(volume_axis="random", volume_turns=True, volume_flips=True)
    dataset = ClipDataset(volumes, WHOLE, augment=augment)
    cube = torch.from_numpy(np.load(volumes.root / "v.npy"))
    seen = set()
    for epoch in range(400):
        pixels = dataset.read(0, epoch).pixels[0]
        assert torch.equal(pixels.flatten().sort().values, cube.flatten().sort().values)
        seen.add(pixels.numpy().tobytes())
    assert len(seen) == 48


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backward", [False, True])
def test_a_protocol_can_fix_axis_and_direction_for_training_and_evaluation(
    volumes: Manifest, axis: int, backward: bool
) -> None:
    protocol = dataclasses.replace(WHOLE, slicing_axis=axis, slicing_backward=backward, num_temporal_views=1)
    expected = np.load(volumes.root / "v.npy").swapaxes(0, axis)[:: -1 if backward else 1].copy()
    assert torch.equal(ClipDataset(volumes, protocol).read(0).pixels[0], torch.from_numpy(expected))
    views = ClipDataset(volumes, protocol, "views").read(0).pixels
    assert torch.equal(views[0, 0], torch.from_numpy(expected))


def test_a_random_axis_does_not_cut_segments(volumes: Manifest) -> None:
    sample = dataclasses.replace(volumes.samples[0], start_seconds=2.0)
    manifest = dataclasses.replace(volumes, samples=(sample,))
    with pytest.raises(ConfigError, match="segments"):
        ClipDataset(manifest, WHOLE, augment=AugmentConfig(volume_axis="random"))
