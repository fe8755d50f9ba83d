"""Pixel augmentation: drawn once per clip from the given generator alone, and neutral where nothing is on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig, ErasingConfig, RandAugmentConfig
from tubelet.data.clips.color import ColorStep
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.pixel_augmentation import PixelAugmentation, augment_pixels, draw_pixel_augmentation
from tubelet.data.clips.resize_crop import crop_frames, random_geometry, resize_frames
from tubelet.protocol import Protocol

PROTOCOL = Protocol(resize_short_side=64, crop_size=(56, 56), num_frames=4)
EVERYTHING = AugmentConfig(
    flip_probability=0.5,
    scale_jitter=(0.9, 1.33),
    brightness=0.4,
    brightness_shift=0.1,
    contrast=0.4,
    saturation=0.4,
    hue=0.2,
    grayscale_probability=0.1,
    rand_augment=RandAugmentConfig(ops="timm", num_ops=4, magnitude=7.0, magnitude_std=0.5),
    erasing=ErasingConfig(probability=0.5),
)


def random_frames(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8))


def test_all_frames_of_a_clip_get_the_same_draw() -> None:
    clip = random_frames(1, 3, 80, 100).expand(6, -1, -1, -1)
    augment = EVERYTHING
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        geometry = random_geometry(80, 100, PROTOCOL, augment, rng)
        result = augment_pixels(
            crop_frames(resize_frames(clip, geometry), geometry)[0], draw_pixel_augmentation(augment, PROTOCOL, rng)
        )
        assert all(torch.equal(result[0], frame) for frame in result)
        seen.add(result[0].numpy().tobytes())
    assert len(seen) == 40


def test_flip_mirrors_left_and_right_with_its_probability() -> None:
    clip = random_frames(4, 3, 5, 6)
    assert torch.equal(augment_pixels(clip, PixelAugmentation(flip=(False, False, True))), clip.flip(3))
    rng = np.random.default_rng(0)
    flips = [draw_pixel_augmentation(AugmentConfig(flip_probability=0.25), PROTOCOL, rng).flip for _ in range(2000)]
    assert {flip[:2] for flip in flips} == {(False, False)}
    assert 0.2 < np.mean([flip[2] for flip in flips]) < 0.3
    assert not any(any(draw_pixel_augmentation(AugmentConfig(), PROTOCOL, rng).flip) for _ in range(100))


def test_volume_flips_reverse_each_axis_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    flips = np.array(
        [draw_pixel_augmentation(AugmentConfig(volume_flips=True), PROTOCOL, rng).flip for _ in range(1000)]
    )
    assert np.all(np.abs(flips.mean(axis=0) - 0.5) < 0.06)
    clip = random_frames(4, 1, 5, 6)
    assert torch.equal(augment_pixels(clip, PixelAugmentation(flip=(True, True, False))), clip.flip(0, 2))


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, -2, 0), (-1, 1, 3), (9, 9, -9)])
def test_a_shift_moves_pixels_and_lets_black_enter(shift: tuple[int, int, int]) -> None:
    clip = random_frames(4, 1, 5, 6)
    result = augment_pixels(clip, PixelAugmentation(shift=shift))
    assert result.shape == clip.shape
    expected = torch.zeros_like(clip)
    for t, h, w in np.ndindex(4, 5, 6):
        source = (t - shift[0], h - shift[1], w - shift[2])
        if all(0 <= s < n for s, n in zip(source, (4, 5, 6), strict=True)):
            expected[t, 0, h, w] = clip[source[0], 0, source[1], source[2]]
    assert torch.equal(result, expected)


def test_shifts_stay_within_their_limit() -> None:
    rng = np.random.default_rng(0)
    shifts = np.array(
        [draw_pixel_augmentation(AugmentConfig(volume_shift_pixels=2), PROTOCOL, rng).shift for _ in range(300)]
    )
    assert np.unique(shifts).tolist() == [-2, -1, 0, 1, 2]


def test_without_augmentation_nothing_changes() -> None:
    assert draw_pixel_augmentation(AugmentConfig(), PROTOCOL, np.random.default_rng(0)) == PixelAugmentation()
    clip = random_frames(4, 3, 5, 6)
    assert torch.equal(augment_pixels(clip, PixelAugmentation()), clip)


def test_draws_come_from_the_given_generator_alone() -> None:
    clip = random_frames(4, 3, 56, 56)
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        augment = dataclasses.replace(EVERYTHING, erasing=ErasingConfig(probability=1.0, fill="noise"))
        look = draw_pixel_augmentation(augment, PROTOCOL, np.random.default_rng(5))
        results.append(augment_pixels(clip, look))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)


def test_color_changes_stay_in_range_and_come_in_every_order() -> None:
    augment = AugmentConfig(brightness=0.4, brightness_shift=0.1, contrast=0.2, saturation=0.3, hue=0.1)
    rng = np.random.default_rng(0)
    orders = set()
    for _ in range(2000):
        colors = draw_pixel_augmentation(augment, PROTOCOL, rng).colors
        orders.add(tuple(step.name for step in colors))
        amounts = {step.name: step.amount for step in colors}
        assert 0.6 <= amounts["brightness"] <= 1.4
        assert -0.1 <= amounts["shift"] <= 0.1
        assert 0.8 <= amounts["contrast"] <= 1.2
        assert 0.7 <= amounts["saturation"] <= 1.3
        assert -0.1 <= amounts["hue"] <= 0.1
    assert len(orders) == 120


def test_color_changes_and_grayscale_have_probabilities_of_their_own() -> None:
    augment = AugmentConfig(brightness=0.4, color_probability=0.8, grayscale_probability=0.1)
    rng = np.random.default_rng(0)
    looks = [draw_pixel_augmentation(augment, PROTOCOL, rng).colors for _ in range(3000)]
    assert 0.77 < np.mean([any(step.name == "brightness" for step in colors) for colors in looks]) < 0.83
    assert 0.08 < np.mean([colors[-1:] == (ColorStep(name="grayscale"),) for colors in looks]) < 0.12


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_can_be_undone(turns: int) -> None:
    clip = random_frames(4, 1, 6, 6)
    turned = augment_pixels(clip, PixelAugmentation(quarter_turns=turns))
    assert not torch.equal(turned, clip)
    assert torch.equal(augment_pixels(turned, PixelAugmentation(quarter_turns=4 - turns)), clip)


def test_all_four_quarter_turns_are_drawn() -> None:
    rng = np.random.default_rng(0)
    turns = [draw_pixel_augmentation(AugmentConfig(volume_turns=True), PROTOCOL, rng).quarter_turns for _ in range(100)]
    assert set(turns) == {0, 1, 2, 3}


def test_an_erased_box_is_zero_after_normalization_and_the_rest_is_kept() -> None:
    protocol = dataclasses.replace(PROTOCOL, mean=(0.2, 0.4, 0.6), std=(0.3, 0.2, 0.1), channel_order="bgr")
    augment = AugmentConfig(erasing=ErasingConfig(probability=1.0, area=(0.1, 0.2)))
    clip = random_frames(4, 3, 56, 56)
    look = draw_pixel_augmentation(augment, protocol, np.random.default_rng(0))
    assert look.erasure is not None
    top, left, height, width = look.erasure.box
    assert 0.08 < height * width / 56**2 < 0.22
    result = augment_pixels(clip, look)
    inside = torch.zeros(56, 56, dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    assert torch.equal(result[..., ~inside], clip[..., ~inside])
    normalized = normalize(result.transpose(0, 1), protocol)[..., inside]
    assert normalized.abs().max() <= 0.5 / 255 / 0.1 + 1e-5  # half a level, over the smallest std


def test_erasing_noise_is_normal_after_normalization_and_differs_between_frames() -> None:
    protocol = dataclasses.replace(PROTOCOL, mean=(0.5,) * 3, std=(0.1,) * 3)
    augment = AugmentConfig(erasing=ErasingConfig(probability=1.0, area=(0.3, 0.3), fill="noise"))
    look = draw_pixel_augmentation(augment, protocol, np.random.default_rng(0))
    assert look.erasure is not None
    top, left, height, width = look.erasure.box
    result = augment_pixels(torch.zeros(4, 3, 56, 56, dtype=torch.uint8), look)
    noise = normalize(result.transpose(0, 1), protocol)[..., top : top + height, left : left + width]
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 1) < 0.05
    assert not torch.equal(noise[:, 0], noise[:, 1])


def test_erasing_happens_with_its_probability() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(erasing=ErasingConfig(probability=0.25))
    erased = [draw_pixel_augmentation(augment, PROTOCOL, rng).erasure is not None for _ in range(2000)]
    assert 0.22 < np.mean(erased) < 0.28
