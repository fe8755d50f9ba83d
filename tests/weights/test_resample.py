"""Kernels for other tubelets and channels keep what a clip in which nothing moves gives."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tubelet.weights.mapping.resample import (
    adapt_channels,
    arp,
    central_frame,
    inflation,
    resample_frames,
    resample_patch,
)

frames = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(old=frames, new=frames)
def test_another_tubelet_length_keeps_the_sum_over_time(old: int, new: int) -> None:
    kernel = torch.randn(3, 2, old, 2, 2, generator=torch.Generator().manual_seed(old * 10 + new))
    resampled = resample_frames(kernel, new)
    assert resampled.shape == (3, 2, new, 2, 2)
    torch.testing.assert_close(resampled.sum(2), kernel.sum(2))
    if old == new:
        torch.testing.assert_close(resampled, kernel)
    if old == 1:
        torch.testing.assert_close(resampled, inflation(kernel[:, :, 0], new))
    if new % old == 0:  # frames cut into equal parts and put together again
        torch.testing.assert_close(resample_frames(resampled, old), kernel)


def test_two_frames_made_one_and_four() -> None:
    kernel = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
    assert resample_frames(kernel, 1).flatten().tolist() == [4.0]
    assert resample_frames(kernel, 4).flatten().tolist() == pytest.approx([0.5, 0.5, 1.5, 1.5])
    assert resample_frames(kernel, 3).flatten().tolist() == pytest.approx([2 / 3, 4 / 3, 2.0])


@settings(max_examples=20, deadline=None)
@given(num_frames=frames)
def test_the_ways_of_making_tubelets(num_frames: int) -> None:
    kernel = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    central = central_frame(kernel, num_frames)
    assert central[:, :, num_frames // 2].equal(kernel)
    assert central.count_nonzero() == kernel.count_nonzero()
    torch.testing.assert_close(inflation(kernel, num_frames).sum(2), kernel)
    weights = arp(torch.ones(1, 1, 1, 1), num_frames).flatten()
    ranks = 2 * torch.arange(1, num_frames + 1) - num_frames - 1
    if num_frames > 1:  # approximate rank pooling: what grows over the clip weighs positive
        assert weights[-1] > 0
        assert (weights * ranks).sum() > 0
    torch.testing.assert_close(weights.sum(), torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("old", "new"), [(3, 1), (3, 4), (3, 7), (1, 1)])
def test_channels_are_adapted_as_timm_does(old: int, new: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old way to import it
        from timm.models import adapt_input_conv
    kernel = torch.randn(4, old, 2, 2)
    expected = adapt_input_conv(new, kernel) if old == 3 else kernel
    torch.testing.assert_close(adapt_channels(kernel, new), expected)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_gray_repeated_over_all_channels_keeps_its_tokens(channels: int) -> None:
    kernel, picture = torch.randn(4, 1, 2, 2), torch.randn(1, 1, 2, 2)
    wider = adapt_channels(kernel, channels)
    actual = nn.functional.conv2d(picture.expand(1, channels, 2, 2), wider)
    torch.testing.assert_close(actual, nn.functional.conv2d(picture, kernel))


def test_a_larger_patch_of_a_smoothly_enlarged_picture_gives_the_same_token() -> None:
    kernel, picture = torch.randn(4, 3, 4, 4), torch.randn(1, 3, 4, 4)
    enlarged = nn.functional.interpolate(picture, size=(8, 8), mode="bicubic", align_corners=False, antialias=True)
    larger = resample_patch(kernel, (8, 8))
    actual = nn.functional.conv2d(enlarged, larger)
    torch.testing.assert_close(actual, nn.functional.conv2d(picture, kernel), rtol=1e-3, atol=1e-3)
    tubelet = torch.randn(4, 3, 2, 4, 4)
    for frame in range(2):
        torch.testing.assert_close(
            resample_patch(tubelet, (8, 8))[:, :, frame], resample_patch(tubelet[:, :, frame].contiguous(), (8, 8))
        )
