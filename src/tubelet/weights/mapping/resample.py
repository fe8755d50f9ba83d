"""Patch kernels and position tables for another tubelet, channel count or grid: what an initialization needs.

Sources: ViViT (arXiv 2103.15691) section 3.4; google-research/scenic, commit 4a38d475,
``projects/vivit/model_utils.py`` (``central_frame_initializer``, ``average_frame_initializer``,
``average_arp_frame_initializer``, ``interpolate_positional_embeddings``, ``tile_positional_embeddings``); FlexiViT
(arXiv 2212.08013) for patches of another size, as timm computes it.

    D  embedding width   C  channels   t, h, w  one tubelet in frames and pixels
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from einops import repeat
from jaxtyping import Float
from timm.layers import resample_patch_embed
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.nn.position import resize_positions
from tubelet.types import Grid


def central_frame(kernel: Float[Tensor, "D C h w"], num_frames: int) -> Float[Tensor, "D C t h w"]:
    """The image kernel at frame t // 2 and zeros elsewhere: a tubelet starts as that one frame."""
    tubelet = kernel.new_zeros(*kernel.shape[:2], num_frames, *kernel.shape[2:])
    tubelet[:, :, num_frames // 2] = kernel
    return tubelet


def inflation(kernel: Float[Tensor, "D C h w"], num_frames: int) -> Float[Tensor, "D C t h w"]:
    """The image kernel over t at every frame: a tubelet starts as the mean of its frames."""
    return repeat(kernel / num_frames, "d c h w -> d c t h w", t=num_frames).contiguous()


def arp(kernel: Float[Tensor, "D C h w"], num_frames: int) -> Float[Tensor, "D C t h w"]:
    """The image kernel weighted as by approximate rank pooling: later frames count more, earlier ones less than none.

    Weights a / t with a_i = 2 (t - i + 1) - (t + 1) (H_t - H_(i-1)), i = 1 ... t, H the harmonic numbers.
    """
    t, harmonic = (
        num_frames,
        [sum((Fraction(1, k) for k in range(1, n + 1)), Fraction()) for n in range(num_frames + 1)],
    )
    weights = [float((2 * (t - i + 1) - (t + 1) * (harmonic[t] - harmonic[i - 1])) / t) for i in range(1, t + 1)]
    return torch.stack([kernel * weight for weight in weights], dim=2)


def resample_frames(kernel: Float[Tensor, "D C t h w"], num_frames: int) -> Float[Tensor, "D C t2 h w"]:
    """A tubelet kernel for another number of frames; a clip in which nothing moves gets the same tokens.

    Old and new frames divide the same span of time. Each old frame's weights go to the new frames that it overlaps,
    in proportion to the overlap, so their sum over time stays what it was: 1 to t frames is ``inflation``, 2 to 1 the
    sum of both.
    """
    old = kernel.shape[2]
    shares = torch.tensor(
        [[_overlap(i, old, j, num_frames) for i in range(old)] for j in range(num_frames)], dtype=kernel.dtype
    )
    return torch.einsum("dcihw,ji->dcjhw", kernel, shares)


def _overlap(i: int, old: int, j: int, new: int) -> float:
    """The share of the i-th of ``old`` equal parts that lies in the j-th of ``new``."""
    begin, end = max(Fraction(i, old), Fraction(j, new)), min(Fraction(i + 1, old), Fraction(j + 1, new))
    return float(max(Fraction(0), end - begin) * old)


def resample_patch(kernel: Float[Tensor, "D C *t h w"], patch_size: tuple[int, int]) -> Float[Tensor, "D C *t h2 w2"]:
    """A patch kernel for patches of another size (FlexiViT's pseudo-inverse resize), frame by frame."""
    if kernel.shape[-2:] == patch_size:
        return kernel
    frames = kernel if kernel.ndim == 4 else kernel.flatten(1, 2)  # D C*t h w: each plane is resized alone
    return resample_patch_embed(frames, list(patch_size)).reshape(*kernel.shape[:-2], *patch_size)


def adapt_channels(kernel: Float[Tensor, "D C *rest"], num_channels: int) -> Float[Tensor, "D C2 *rest"]:
    """A kernel for another number of channels, as timm does it: one channel gets the sum, more than there were repeat
    them in turn, scaled so that a gray picture repeated over all channels keeps its tokens."""
    old = kernel.shape[1]
    if old == num_channels:
        return kernel
    if num_channels == 1:
        return kernel.sum(1, keepdim=True)
    return kernel[:, [i % old for i in range(num_channels)]] * (old / num_channels)


def tile_positions(rows: Float[Tensor, "S D"], old: tuple[int, int], new: Grid) -> Float[Tensor, "N D"]:
    """The table of one image at every time index.

    Raises:
        CheckpointError: the grids of image and frame differ.
    """
    if old != new[1:]:
        raise CheckpointError(
            f"positions=tile needs the same grid in space, the image model has {old[0]}x{old[1]} and the video model "
            f"{new[1]}x{new[2]}; use resize_tile"
        )
    return rows.repeat(new[0], 1)


def resize_tile_positions(rows: Float[Tensor, "S D"], old: tuple[int, int], new: Grid) -> Float[Tensor, "N D"]:
    """The table of one image resized to the grid of a frame, at every time index."""
    return resize_positions(rows, (1, *old), (1, *new[1:]), 0).repeat(new[0], 1)


def resize_square_positions(rows: Float[Tensor, "S D"], old: tuple[int, int], new: Grid) -> Float[Tensor, "N D"]:
    """The original's ``resize``: all tokens of the new table as one square grid. With one time index that is the grid
    of a frame; with several it is not an arrangement that means anything.

    Raises:
        CheckpointError: the number of tokens is no square.
    """
    if new[0] == 1:
        return resize_tile_positions(rows, old, new)
    side = math.isqrt(math.prod(new))
    if side * side != math.prod(new):
        raise CheckpointError(
            f"positions=resize takes all {math.prod(new)} tokens of {'x'.join(map(str, new))} as one square grid, "
            "which they are not; use resize_tile"
        )
    return resize_positions(rows, (1, *old), (1, side, side), 0)
