"""Bench measures what reading does, of any kind of row, and blames no stage that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tubelet.commands.work.data.bench import _advice
from tubelet.data import bench
from tubelet.data.bench import Stages, measure_stages
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.errors import DataError
from tubelet.protocol import Protocol

PROTOCOL = Protocol(num_frames=8, frame_stride=2, resize_short_side=20, crop_size=(16, 16))


@pytest.fixture
def manifest(tmp_path: Path, write_video: Callable[..., Path]) -> Manifest:
    """A video, a volume, a frame folder and a video that is none."""
    write_video(tmp_path / "video.mp4")
    np.save(tmp_path / "volume.npy", np.random.default_rng(0).integers(0, 256, (12, 24, 30), dtype=np.uint8))
    (tmp_path / "frames").mkdir()
    for number in range(12):
        Image.fromarray(np.full((24, 30, 3), 20 * number, np.uint8)).save(tmp_path / "frames" / f"{number:03d}.png")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    names = ("video.mp4", "volume.npy", "frames", "bad.mp4")
    samples = tuple(Sample(path=name, labels=(0,), split="train", fps=None) for name in names)
    return Manifest(root=tmp_path, samples=samples, class_names={"label": ("a", "b")}, layout="files")


def test_every_kind_of_row_is_measured_and_what_cannot_be_read_is_named(manifest: Manifest) -> None:
    told: list[tuple[int, int]] = []
    protocol = replace(PROTOCOL, sampling="uniform", frame_stride=1)
    stages, failures = measure_stages(manifest, protocol, AugmentConfig(), 9, 2, lambda *counts: told.append(counts))
    assert told[-1] == (4, 4)
    assert list(failures) == [str(manifest.root / "bad.mp4")]
    assert all(seconds >= 0 for seconds in asdict(stages).values())
    assert stages.total == pytest.approx(sum(asdict(stages).values()))
    assert min(stages.open, stages.decode, stages.copy, stages.collate) > 0
    with pytest.raises(DataError, match=r"no clip could be read; the first: .*bad\.mp4"):
        measure_stages(replace(manifest, samples=manifest.samples[3:]), PROTOCOL, AugmentConfig(), 9, 2)


@pytest.mark.parametrize("slow", ["open", "decode", "convert", "augment", "collate"])
def test_time_is_charged_to_the_stage_that_takes_it(
    slow: str, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = {
        "open": (ClipDataset, "open"),
        "decode": (ClipDataset, "draw"),  # which is counted with decoding
        "convert": (bench, "read_crops"),
        "augment": (bench, "augment_pixels"),
        "collate": (torch.Tensor, "copy_"),
    }[slow]
    original = getattr(owner, name)

    def slowed(*args: object, **options: object) -> object:
        time.sleep(0.2)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, slowed)
    stages, _ = measure_stages(replace(manifest, samples=manifest.samples[:1]), PROTOCOL, AugmentConfig(), 1, 1)
    assert stages.bottleneck == slow
    assert getattr(stages, slow) > 0.1  # "convert" is the difference of two readings, of which each varies


def test_the_clip_measured_is_the_clip_read(manifest: Manifest) -> None:
    augment = AugmentConfig(flip_probability=0.5, random_resized_crop=(0.3, 1.0), brightness=0.4)
    videos = replace(manifest, samples=(manifest.samples[0],) * 3)
    dataset = ClipDataset(videos, PROTOCOL, augment=augment)
    for row in range(3):
        slot = torch.empty(dataset.item_shape, dtype=torch.uint8)
        assert isinstance(bench._stages(dataset, row, slot), Stages)
        assert slot.equal(dataset.read(row).pixels)


def test_only_what_can_be_prepared_and_is_not_yet_is_told_to_be(manifest: Manifest, tmp_path: Path) -> None:
    videos = replace(manifest, samples=manifest.samples[:1])
    prepared = read_manifest(prepare(videos, tmp_path / "out", PrepareConfig(num_workers=1)).manifest, is_checked=False)
    assert "tubelet data prepare" in _advice(videos)["decode"]
    assert "prepare" not in _advice(manifest)["decode"]
    assert "prepare" not in _advice(prepared)["decode"] + _advice(prepared)["open"]
    for advice in (_advice(videos), _advice(manifest), _advice(prepared)):
        assert set(advice) == set(Stages.__dataclass_fields__)
