"""Which frames are sampled, how blocks become tokens, and what cannot be cut."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.errors import TubeletError
from tubelet.nn.tokenizer import (
    AveragedFramesTokenizer,
    PlaceTokenizer,
    TubeletTokenizer,
    UniformFrameTokenizer,
    keep_central_frame_,
    uniform_frame_indices,
)


@pytest.mark.parametrize("num_frames", range(1, 65))
def test_uniform_sampling_takes_exactly_n_frames_in_order(num_frames: int) -> None:
    for n in range(1, num_frames):
        indices = uniform_frame_indices(num_frames, n)
        assert len(indices) == n
        assert all(a < b for a, b in itertools.pairwise(indices))
        assert indices[0] >= 0
        assert indices[-1] < num_frames


@pytest.mark.parametrize("num_frames", [1, 2, 7, 64])
def test_uniform_sampling_takes_all_frames_when_asked_for_as_many_or_more(num_frames: int) -> None:
    for n in (num_frames, num_frames + 1, 3 * num_frames):
        assert uniform_frame_indices(num_frames, n) == list(range(num_frames))


def test_uniform_sampling_leaves_out_first_and_last_frame() -> None:
    assert uniform_frame_indices(32, 8) == [4, 7, 11, 14, 18, 21, 25, 28]


@pytest.mark.parametrize("tubelet_size", [(1, 4, 4), (2, 4, 4), (3, 2, 8)])
def test_tubelets_equal_the_convolution_whose_parameters_they_use(tubelet_size: tuple[int, int, int]) -> None:
    tokenizer = TubeletTokenizer(tubelet_size, in_channels=3, embed_dim=10, grid=(1, 1, 1)).double()
    clip = torch.randn(2, 3, 6, 8, 16, dtype=torch.float64)
    tokens, grid = tokenizer(clip)
    convolved = F.conv3d(clip, tokenizer.proj.weight, tokenizer.proj.bias, stride=tubelet_size)
    assert grid == tuple(convolved.shape[2:])
    torch.testing.assert_close(tokens, convolved.flatten(2).transpose(1, 2))  # time, row, column: column fastest


def test_frame_tokens_equal_the_convolution_of_the_sampled_frames() -> None:
    tokenizer = UniformFrameTokenizer(3, (4, 8), in_channels=3, embed_dim=10, grid=(3, 2, 2)).double()
    clip = torch.randn(2, 3, 9, 8, 16, dtype=torch.float64)
    tokens, grid = tokenizer(clip)
    assert grid == (3, 2, 2)
    for i, frame in enumerate(uniform_frame_indices(9, 3)):
        patches = F.conv2d(clip[:, :, frame], tokenizer.proj.weight, tokenizer.proj.bias, stride=(4, 8))
        torch.testing.assert_close(tokens[:, 4 * i : 4 * (i + 1)], patches.flatten(2).transpose(1, 2))


def test_fewer_frames_than_sampled_give_that_many_time_indices() -> None:
    tokenizer = UniformFrameTokenizer(8, (4, 4), in_channels=1, embed_dim=2, grid=(8, 1, 1))
    tokens, grid = tokenizer(torch.zeros(1, 1, 5, 4, 4))
    assert grid == (5, 1, 1)
    assert tokens.shape == (1, 5, 2)


@pytest.mark.parametrize("shape", [(7, 8, 16), (8, 9, 16), (8, 8, 15), (8, 8, 2), (0, 8, 16)])
def test_a_clip_that_cannot_be_cut_is_refused_with_both_grids_named(shape: tuple[int, int, int]) -> None:
    tokenizer = TubeletTokenizer((2, 4, 4), in_channels=3, embed_dim=4, grid=(16, 14, 14))
    with pytest.raises(TubeletError) as caught:
        tokenizer(torch.zeros(1, 3, *shape))
    message = str(caught.value)
    assert "x".join(f"{size / t:g}" for size, t in zip(shape, (2, 4, 4), strict=True)) in message  # its own grid
    assert "16x14x14" in message  # the model's
    assert "\n" not in message


def test_the_size_proposed_instead_can_be_cut() -> None:
    tokenizer = TubeletTokenizer((2, 4, 4), in_channels=3, embed_dim=4, grid=(4, 2, 2))
    with pytest.raises(TubeletError, match=r"use for example 6x8x4$"):
        tokenizer(torch.zeros(1, 3, 7, 11, 3))
    assert tokenizer(torch.zeros(1, 3, 6, 8, 4))[1] == (3, 2, 1)


def test_frame_tokens_refuse_a_height_that_would_make_patches_straddle_frames() -> None:
    tokenizer = UniformFrameTokenizer(4, (4, 4), in_channels=3, embed_dim=4, grid=(4, 2, 2))
    with pytest.raises(TubeletError, match=r"8x2\.5x2 .* 4x2x2"):
        tokenizer(torch.zeros(1, 3, 8, 10, 8))


def test_another_number_of_channels_is_refused() -> None:
    for tokenizer in (TubeletTokenizer((2, 4, 4), 3, 4, (1, 1, 1)), UniformFrameTokenizer(2, (4, 4), 3, 4, (1, 1, 1))):
        with pytest.raises(TubeletError, match="1 channels where the model expects 3"):
            tokenizer(torch.zeros(1, 1, 8, 8, 8))


@pytest.mark.parametrize(
    ("tokenizer", "fan_in"),
    [
        (TubeletTokenizer((2, 8, 8), 3, 256, (1, 1, 1)), 3 * 2 * 8 * 8),
        (UniformFrameTokenizer(8, (8, 8), 3, 256, (1, 1, 1)), 3 * 8 * 8),
    ],
)
def test_projection_starts_lecun_normal_and_its_bias_at_zero(
    tokenizer: TubeletTokenizer | UniformFrameTokenizer, fan_in: int
) -> None:
    assert tokenizer.proj.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.02)
    assert tokenizer.proj.bias is not None
    assert not tokenizer.proj.bias.any()


def test_patches_of_a_place_stand_together_frame_by_frame() -> None:
    """The 2-D convolution of an image ViT on every frame, places row by row."""
    tokenizer, clip = PlaceTokenizer(4, in_channels=3, embed_dim=6, grid=(5, 2, 3)), torch.randn(2, 3, 5, 8, 12)
    tokens, grid = tokenizer(clip)
    assert grid == (5, 2, 3)
    images = tokenizer.proj(clip.transpose(1, 2).flatten(0, 1))  # B*T D 2 3
    expected = images.unflatten(0, (2, 5)).flatten(3).permute(0, 3, 1, 2)  # B S T D
    torch.testing.assert_close(tokens, expected)


def test_frames_with_leftover_rows_are_refused() -> None:
    with pytest.raises(TubeletError, match=r"5x2\.25x3 .* 5x2x3"):
        PlaceTokenizer(4, in_channels=3, embed_dim=6, grid=(5, 2, 3))(torch.zeros(1, 3, 5, 9, 12))


def test_averaged_frames_are_tubelets_whose_frames_share_their_weights() -> None:
    averaged = AveragedFramesTokenizer((4, 2, 3), in_channels=2, embed_dim=8, grid=(2, 3, 2))
    tubelets = TubeletTokenizer((4, 2, 3), in_channels=2, embed_dim=8, grid=(2, 3, 2))
    with torch.no_grad():
        tubelets.proj.weight.copy_(averaged.proj.weight[:, :, None] / 4)
        tubelets.proj.bias.copy_(averaged.proj.bias)
    clip = torch.randn(2, 2, 8, 6, 6)
    (ours, grid), (theirs, same) = averaged(clip), tubelets(clip)
    assert grid == same == (2, 3, 2)
    torch.testing.assert_close(ours, theirs)


def test_the_central_frame_alone_speaks_at_first_and_the_others_learn() -> None:
    tokenizer = TubeletTokenizer((4, 2, 3), in_channels=2, embed_dim=64, grid=(2, 3, 2))
    keep_central_frame_(tokenizer)
    weight = tokenizer.proj.weight
    assert weight[:, :, [0, 1, 3]].abs().max() == 0
    assert weight[:, :, 2].std().item() == pytest.approx((1 / 12) ** 0.5, rel=0.1)  # 2 channels x 2 x 3 pixels
    tokens, _ = tokenizer(torch.randn(2, 2, 8, 6, 6))
    tokens.square().sum().backward()
    assert weight.grad is not None
    assert weight.grad[:, :, 0].abs().min() > 0


def unpadded(kernel: nn.Conv2d | nn.Conv3d, clip: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """Tokens [B, N, D] and grid as an original's convolution without padding gives them."""
    if isinstance(kernel, nn.Conv3d):
        x = F.conv3d(clip, kernel.weight, kernel.bias, stride=kernel.kernel_size)  # B D n_t n_h n_w
    else:
        frames = [F.conv2d(f, kernel.weight, kernel.bias, stride=kernel.kernel_size) for f in clip.unbind(2)]
        x = torch.stack(frames, dim=2)
    return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3], x.shape[4])


@pytest.mark.parametrize("size", [(9, 33, 50), (8, 33, 32), (9, 32, 32), (4, 16, 31)])
def test_dropping_the_remainder_is_what_a_convolution_without_padding_does(size: tuple[int, int, int]) -> None:
    """9 frames at 4 and 33 x 50 pixels at 16: the last frame, the last row and the last two columns are left out."""
    clip, rest = torch.randn(2, 3, *size, dtype=torch.float64), (3, 6, (2, 2, 3), "drop")
    tubelets = TubeletTokenizer((4, 16, 16), *rest).double()
    tokens, grid = tubelets(clip)
    expected, expected_grid = unpadded(tubelets.proj, clip)
    assert grid == expected_grid == (size[0] // 4, size[1] // 16, size[2] // 16)
    torch.testing.assert_close(tokens, expected)
    averaged = AveragedFramesTokenizer((4, 16, 16), *rest).double()
    means = torch.stack([part.mean(2) for part in clip.split(4, dim=2) if part.shape[2] == 4], dim=2)
    tokens, grid = averaged(clip)
    assert grid == expected_grid
    torch.testing.assert_close(tokens, unpadded(averaged.proj, means)[0])
    places = PlaceTokenizer(16, *rest).double()
    tokens, grid = places(clip)
    expected, expected_grid = unpadded(places.proj, clip)
    assert grid == expected_grid
    torch.testing.assert_close(tokens.transpose(1, 2).flatten(1, 2), expected)
    sampled = UniformFrameTokenizer(64, (16, 16), *rest).double()
    tokens, grid = sampled(clip)
    assert grid == expected_grid
    torch.testing.assert_close(tokens, unpadded(sampled.proj, clip)[0])


def test_nothing_is_left_of_a_clip_smaller_than_a_tubelet_which_is_refused_even_so() -> None:
    tokenizer = TubeletTokenizer((4, 16, 16), 3, 6, (2, 2, 3), "drop")
    for size in ((3, 32, 32), (4, 15, 32), (4, 16, 0)):
        with pytest.raises(TubeletError, match="which is not whole"):
            tokenizer(torch.zeros(1, 3, *size))


def test_the_refusal_of_a_remainder_names_the_option_that_drops_it() -> None:
    with pytest.raises(TubeletError, match="set remainder to drop"):
        TubeletTokenizer((4, 16, 16), 3, 6, (2, 2, 3))(torch.zeros(1, 3, 9, 32, 32))
