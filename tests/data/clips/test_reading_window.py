"""What the reader cuts and scales is what resizing whole frames and cropping them would have given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.resize_crop import (
    crop_frames,
    random_geometry,
    reading_window,
    resize_frames,
    view_geometry,
)
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.protocol import Protocol

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
NATURAL = CLIPS / "rotation_90.mov"  # 568 x 320 as shown
OWN_SIZE = Protocol(num_frames=2, frame_stride=1, resize_short_side=320, crop_size=(224, 224), num_temporal_views=1)
REDUCED = Protocol(num_frames=2, frame_stride=1, resize_short_side=128, crop_size=(112, 112), num_temporal_views=1)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


@pytest.mark.parametrize("may_round", [False, True])
def test_crops_of_frames_at_their_own_size_are_exact(may_round: bool) -> None:
    rng = np.random.default_rng(0)
    with VideoReader(NATURAL) as reader:
        whole = reader.frames_at([0, 2]).pixels
        geometries = [random_geometry(568, 320, OWN_SIZE, AugmentConfig(), rng) for _ in range(10)]
        for geometry in [view_geometry(568, 320, OWN_SIZE), *geometries]:
            window, rest = reading_window(geometry, may_round=may_round)
            crops = crop_frames(reader.frames_at([0, 2], window).pixels, rest)
            for got, expected in zip(crops, crop_frames(resize_frames(whole, geometry), geometry), strict=True):
                assert got.equal(expected)


def test_only_what_the_crops_show_is_read_where_nothing_is_scaled() -> None:
    window, rest = reading_window(view_geometry(568, 320, OWN_SIZE), may_round=False)
    assert window.box == (0, 48, 568, 224)
    assert rest.crops == ((0, 0), (172, 0), (344, 0))


@pytest.mark.parametrize(
    "augment", [AugmentConfig(), AugmentConfig(random_resized_crop=(0.3, 1.0)), AugmentConfig(scale_jitter=(0.9, 1.3))]
)
def test_crops_of_reduced_frames_are_near(augment: AugmentConfig) -> None:
    """A wrong box, a lost rotation or swapped channels are far below that."""
    rng = np.random.default_rng(0)
    with VideoReader(NATURAL) as reader:
        whole = reader.frames_at([1]).pixels
        for _ in range(8):
            geometry = random_geometry(568, 320, REDUCED, augment, rng)
            window, rest = reading_window(geometry, may_round=True)
            (got,) = crop_frames(reader.frames_at([1], window).pixels, rest)
            assert got.shape[-2:] == (112, 112)
            assert psnr(got, crop_frames(resize_frames(whole, geometry), geometry)[0]) > 33


def test_random_resized_crops_are_those_of_torchvision_for_the_same_box() -> None:
    rng, augment = np.random.default_rng(0), AugmentConfig(random_resized_crop=(0.2, 0.8))
    with VideoReader(NATURAL) as reader:
        whole = reader.frames_at([1]).pixels
        for _ in range(8):
            geometry = random_geometry(568, 320, REDUCED, augment, rng)
            window, rest = reading_window(geometry, may_round=True)
            (got,) = crop_frames(reader.frames_at([1], window).pixels, rest)
            top, left, height, width = geometry.box

            def of_torchvision(box: tuple[int, int, int, int]) -> torch.Tensor:
                crop: torch.Tensor = functional.resized_crop(whole, *box, size=[112, 112], antialias=True)
                return crop

            assert crop_frames(resize_frames(whole, geometry), geometry)[0].equal(of_torchvision(geometry.box))
            assert psnr(got, of_torchvision(geometry.box)) > 38
            assert psnr(got, of_torchvision((top + 4, left, height, width))) < 30


def test_evaluation_and_enlarged_frames_are_scaled_whole() -> None:
    geometry = view_geometry(568, 320, REDUCED)
    window, rest = reading_window(geometry, may_round=False)
    assert (window.box, window.size, rest) == ((0, 0, 568, 320), geometry.resized, geometry)
    enlarged = random_geometry(60, 50, REDUCED, AugmentConfig(), np.random.default_rng(0))
    assert reading_window(enlarged, may_round=True)[1] == enlarged


def test_a_dataset_reads_through_the_index_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / NATURAL.name
    path.write_bytes(NATURAL.read_bytes())
    manifest = Manifest(tmp_path, (Sample(path=path.name, labels=(0,), split="train"),), {"label": ("a", "b")}, "files")
    expected = [ClipDataset(manifest, REDUCED, mode).read(0).pixels for mode in ("train", "views")]  # type: ignore[arg-type]
    IndexStore.beside(tmp_path).put({path: PacketIndex.of(path)})
    monkeypatch.setattr(PacketIndex, "of", lambda path: pytest.fail("the file was indexed again"))
    for mode, pixels in zip(("train", "views"), expected, strict=True):
        assert ClipDataset(manifest, REDUCED, mode).read(0).pixels.equal(pixels)  # type: ignore[arg-type]
