from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import (
    Geometry,
    crop_frames,
    random_geometry,
    resize_frames,
    short_side_size,
    view_geometry,
)
from tubelet.errors import DataError
from tubelet.protocol import Protocol

PROTOCOL = Protocol(resize_short_side=64, crop_size=(56, 56), num_frames=4)


def random_frames(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8))


# Sizes


def test_the_long_side_is_cut_to_an_integer() -> None:
    assert short_side_size(720, 1280, 256) == (256, 455)
    assert short_side_size(1280, 720, 256) == (455, 256)
    assert short_side_size(50, 50, 64) == (64, 64)


@pytest.mark.parametrize("size", [(128, 192), (50, 131), (65, 64)])
def test_resize_is_that_of_torchvision_bilinear_with_antialiasing(size: tuple[int, int]) -> None:
    frames = random_frames(2, 3, *size)
    geometry = view_geometry(*size, PROTOCOL)
    expected = functional.resize(frames, list(geometry.resized), v2.InterpolationMode.BILINEAR, antialias=True)
    assert torch.equal(resize_frames(frames, geometry), expected)


def test_frames_of_the_right_size_are_not_resampled() -> None:
    frames = random_frames(2, 3, 64, 90)
    assert torch.equal(resize_frames(frames, view_geometry(64, 90, PROTOCOL)), frames)


# Views


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [
        (64, 89, ((4, 0), (4, 17), (4, 33))),  # the center of an odd room is rounded up
        (89, 64, ((0, 4), (17, 4), (33, 4))),
        (64, 64, ((4, 0), (4, 4), (4, 8))),
    ],
)
def test_three_crops_lie_along_the_longer_side(height: int, width: int, corners: tuple[tuple[int, int], ...]) -> None:
    assert view_geometry(height, width, PROTOCOL).crops == corners
    single = Protocol(resize_short_side=64, crop_size=(56, 56), num_spatial_crops=1)
    assert view_geometry(height, width, single).crops == (corners[1],)


def test_crops_are_the_pixels_at_their_corners() -> None:
    frames = random_frames(3, 3, 64, 90)
    geometry = view_geometry(64, 90, PROTOCOL)
    crops = crop_frames(frames, geometry)
    assert len(crops) == 3
    for crop, (top, left) in zip(crops, geometry.crops, strict=True):
        assert torch.equal(crop, frames[:, :, top : top + 56, left : left + 56])


def test_a_frame_smaller_than_the_crop_is_refused() -> None:
    wide = Protocol(resize_short_side=64, crop_size=(64, 128))
    with pytest.raises(DataError, match="smaller than the crop 64x128"):
        view_geometry(100, 100, wide)
    with pytest.raises(DataError, match="smaller than the crop 64x128"):
        random_geometry(100, 100, wide, AugmentConfig(), np.random.default_rng(0))


# Random geometry


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(16, 400),
    width=st.integers(16, 400),
    seed=st.integers(0, 2**32),
    augment=st.sampled_from(
        [
            AugmentConfig(),
            AugmentConfig(scale_jitter=(0.9, 1.33)),
            AugmentConfig(short_side_jitter=(64, 80)),
            AugmentConfig(random_resized_crop=(0.08, 1.0)),
            AugmentConfig(multi_scale_crop=(1.0, 0.875, 0.75, 0.66)),
        ]
    ),
)
def test_a_random_crop_lies_inside_the_frame(height: int, width: int, seed: int, augment: AugmentConfig) -> None:
    geometry = random_geometry(height, width, PROTOCOL, augment, np.random.default_rng(seed))
    top, left, box_height, box_width = geometry.box
    assert 0 <= top <= top + box_height <= height
    assert 0 <= left <= left + box_width <= width
    assert min(box_height, box_width) > 0
    ((crop_top, crop_left),) = geometry.crops
    assert 0 <= crop_top <= geometry.resized[0] - 56
    assert 0 <= crop_left <= geometry.resized[1] - 56


def test_random_crops_reach_every_position() -> None:
    rng = np.random.default_rng(0)
    crops = {random_geometry(64, 64, PROTOCOL, AugmentConfig(), rng).crops[0] for _ in range(1000)}
    assert crops == {(top, left) for top in range(9) for left in range(9)}


def test_scale_jitter_draws_height_and_width_apart() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(scale_jitter=(0.9, 1.33))
    sizes = [random_geometry(128, 128, PROTOCOL, augment, rng).resized for _ in range(300)]
    heights, widths = np.array(sizes).T
    assert (heights != widths).mean() > 0.9
    for sides in (heights, widths):
        assert int(64 * 0.9) <= sides.min() < 64 * 0.95
        assert 64 * 1.28 < sides.max() <= int(64 * 1.33)


def test_random_resized_crops_keep_the_asked_share() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(random_resized_crop=(0.25, 0.5))
    for _ in range(200):
        geometry = random_geometry(200, 200, PROTOCOL, augment, rng)
        _, _, height, width = geometry.box
        assert 0.24 <= height * width / 200**2 <= 0.51
        assert 0.74 <= width / height <= 1.35
        assert geometry.resized == (56, 56)


def test_the_shape_of_random_resized_crops_can_be_chosen() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(random_resized_crop=(0.2, 0.3), crop_aspect_ratio=(1.5, 2.0))
    for _ in range(100):
        _, _, height, width = random_geometry(200, 200, PROTOCOL, augment, rng).box
        assert 1.45 <= width / height <= 2.05


def test_short_side_jitter_reaches_both_ends_and_keeps_the_shape() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(short_side_jitter=(60, 64))
    sizes = {random_geometry(100, 200, PROTOCOL, augment, rng).resized for _ in range(200)}
    assert sizes == {(side, 2 * side) for side in range(60, 65)}


def test_multi_scale_crops_take_neighboring_shares_of_the_short_side() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(multi_scale_crop=(1.0, 0.8, 0.5))
    geometries = [random_geometry(100, 200, PROTOCOL, augment, rng) for _ in range(300)]
    assert {geometry.box[2:] for geometry in geometries} == {
        *((100, 100), (100, 80), (80, 100), (80, 80), (80, 50), (50, 80), (50, 50)),
    }
    assert {geometry.resized for geometry in geometries} == {(56, 56)}


def test_without_augmentation_only_the_crop_moves() -> None:
    geometry = random_geometry(128, 128, PROTOCOL, AugmentConfig(), np.random.default_rng(0))
    assert geometry == Geometry(box=(0, 0, 128, 128), resized=(64, 64), crops=geometry.crops, crop_size=(56, 56))


# Normalization


def test_default_normalization_is_from_minus_one_to_one() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16).expand(2, 3, 4, 16, 16)
    result = normalize(pixels, Protocol())
    assert result.dtype == torch.float32
    assert torch.allclose(result, pixels.float() * 2 / 255 - 1, atol=2e-7, rtol=0)


def test_normalization_is_per_channel_and_takes_views() -> None:
    protocol = Protocol(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = random_frames(2, 5, 3, 4, 6, 7)
    result = normalize(pixels, protocol)
    assert result.shape == pixels.shape
    for channel in range(3):
        expected = (pixels[:, :, channel].double() / 255 - protocol.mean[channel]) / protocol.std[channel]
        assert math.isclose((result[:, :, channel] - expected).abs().max(), 0.0, abs_tol=1e-6)


def test_bgr_reverses_channels_before_mean_and_std() -> None:
    values = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    pixels = random_frames(2, 3, 4, 6, 7)
    bgr = normalize(pixels, Protocol(channel_order="bgr", **values))
    assert torch.equal(bgr, normalize(pixels.flip(1), Protocol(**values)))
