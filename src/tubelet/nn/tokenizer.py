"""From a clip to tokens: tubelets, or patches of uniformly sampled frames.

Source: ViViT (arXiv 2103.15691) section 3.2; google-research/scenic, commit 4a38d475,
``projects/vivit/model.py`` (``temporal_encode``, ``embed_3d_patch``, ``embed_2d_patch``) and
``common_lib/video_utils.py`` (``sample_frames_uniformly``).

    B  batch   C  channels   T, H, W  clip in frames and pixels   t, h, w  one tubelet   N = n_t n_h n_w  tokens
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.errors import TubeletError
from tubelet.nn.linear import linear
from tubelet.types import Grid, Remainder


class TubeletTokenizer(nn.Module):
    """One linear map of every non-overlapping t x h x w block of the clip ("tubelet embedding").

    The paper's 3-D convolution has a stride equal to its kernel, so one matrix product over the cut clip computes it.
    ``proj`` holds its parameters in convolution layout ``[D, C, t, h, w]``. Tokens are ordered time, row, column
    (column fastest).

    Deviation: the original leaves out frames, rows and columns that fill no tubelet; this does only when asked.

    Args:
        tubelet_size: (t, h, w) in frames and pixels.
        grid: tokens (n_t, n_h, n_w) of the model's position table; only messages use it.
        remainder: whether what fills no tubelet at the end of the clip is refused or left out.
    """

    def __init__(
        self, tubelet_size: Grid, in_channels: int, embed_dim: int, grid: Grid, remainder: Remainder = "refuse"
    ) -> None:
        super().__init__()
        self.tubelet_size = tubelet_size
        self.grid, self.remainder = grid, remainder
        self.proj = nn.Conv3d(in_channels, embed_dim, kernel_size=tubelet_size, stride=tubelet_size)
        fan_in = in_channels * math.prod(tubelet_size)
        lecun_normal_(self.proj.weight, fan_in)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        """Tokens and their grid (n_t, n_h, n_w).

        Raises:
            TubeletError: the clip cannot be cut into whole tubelets, or has another number of channels.
        """
        t, h, w = self.tubelet_size
        check_channels(clip, self.proj.in_channels)
        clip = whole_patches(clip, self.tubelet_size, self.grid, self.remainder)
        _, _, num_frames, height, width = clip.shape
        patches = rearrange(clip, "b c (nt t) (nh h) (nw w) -> b (nt nh nw) (c t h w)", t=t, h=h, w=w)
        tokens = linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # B N D
        return tokens, (num_frames // t, height // h, width // w)


def keep_central_frame_(tokenizer: TubeletTokenizer) -> None:
    """Zero the weights of a fresh tokenizer except at the central frame of the tubelet (frame t // 2).

    The central weights are drawn like those of a 2-D patch: "central frame initialization" of section 3.4, without an
    image model.
    """
    weight = tokenizer.proj.weight
    t, h, w = tokenizer.tubelet_size
    central = torch.empty_like(weight[:, :, 0])
    lecun_normal_(central, fan_in=weight.shape[1] * h * w)
    with torch.no_grad():
        weight.zero_()
        weight[:, :, t // 2] = central


class AveragedFramesTokenizer(nn.Module):
    """Patches of the mean of every ``t`` consecutive frames.

    It sees all frames, as tubelets do, and learns nothing about their order within a tubelet. ``proj`` is the 2-D patch
    convolution of an image ViT, ``[D, C, h, w]``. The paper does not have it; it separates seeing every frame from
    weighting them.
    """

    def __init__(
        self, tubelet_size: Grid, in_channels: int, embed_dim: int, grid: Grid, remainder: Remainder = "refuse"
    ) -> None:
        super().__init__()
        self.tubelet_size = tubelet_size
        self.grid, self.remainder = grid, remainder
        patch_size = tubelet_size[1:]
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        lecun_normal_(self.proj.weight, in_channels * math.prod(patch_size))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        """Tokens and their grid (n_t, n_h, n_w). Raises as :class:`TubeletTokenizer` does."""
        t, h, w = self.tubelet_size
        check_channels(clip, self.proj.in_channels)
        clip = whole_patches(clip, self.tubelet_size, self.grid, self.remainder)
        _, _, num_frames, height, width = clip.shape
        frames = reduce(clip, "b c (nt t) h w -> b c nt h w", "mean", t=t)  # B C n_t H W
        patches = rearrange(frames, "b c nt (nh h) (nw w) -> b (nt nh nw) (c h w)", h=h, w=w)
        tokens = linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # B N D
        return tokens, (num_frames // t, height // h, width // w)


class PlaceTokenizer(nn.Module):
    """The patches of every frame, those of one place together: ``[B, S, T, D]``, S places row by row, T frames.

    ``proj`` is the 2-D patch convolution of an image ViT, ``[D, C, p, p]``, with torch's own initial values.
    Source: facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py`` (``PatchEmbed``).

    Deviation: the original leaves out rows and columns that fill no patch; this does only when asked (``remainder``).
    """

    def __init__(
        self, patch_size: int, in_channels: int, embed_dim: int, grid: Grid, remainder: Remainder = "refuse"
    ) -> None:
        super().__init__()
        self.grid, self.remainder = grid, remainder
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B S T D"], Grid]:
        """Tokens and their grid (frames, n_h, n_w). Raises as :class:`TubeletTokenizer` does."""
        p, _ = self.proj.kernel_size
        check_channels(clip, self.proj.in_channels)
        clip = whole_patches(clip, (1, p, p), self.grid, self.remainder)
        _, _, num_frames, height, width = clip.shape
        patches = rearrange(clip, "b c t (nh h) (nw w) -> b (nh nw) t (c h w)", h=p, w=p)
        tokens = linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # B S T D
        return tokens, (num_frames, height // p, width // p)


class UniformFrameTokenizer(nn.Module):
    """Patches of ``num_sampled_frames`` frames spread uniformly over the clip ("uniform frame sampling").

    ``proj`` is the 2-D patch convolution of an image ViT, ``[D, C, h, w]``. A clip with no more frames than
    ``num_sampled_frames`` is used as a whole.

    Deviation: the original stacks frames along the height before its 2-D convolution, so that patches straddle
    frames when the height is no multiple of the patch; this raises, or cuts every frame alone (``remainder``).
    """

    def __init__(
        self,
        num_sampled_frames: int,
        patch_size: tuple[int, int],
        in_channels: int,
        embed_dim: int,
        grid: Grid,
        remainder: Remainder = "refuse",
    ) -> None:
        super().__init__()
        self.num_sampled_frames = num_sampled_frames
        self.patch_size = patch_size
        self.grid, self.remainder = grid, remainder
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        lecun_normal_(self.proj.weight, in_channels * math.prod(patch_size))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        """Tokens and their grid (sampled frames, n_h, n_w). Raises as :class:`TubeletTokenizer` does."""
        h, w = self.patch_size
        check_channels(clip, self.proj.in_channels)
        clip = whole_patches(clip, (1, h, w), self.grid, self.remainder)
        _, _, num_frames, height, width = clip.shape
        n = self.num_sampled_frames
        index = traced_indices(clip, n) if torch.compiler.is_exporting() else uniform_frame_indices(num_frames, n)
        frames = clip[:, :, index]  # B C n H W
        patches = rearrange(frames, "b c n (nh h) (nw w) -> b (n nh nw) (c h w)", h=h, w=w)
        tokens = linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # B N D
        return tokens, (len(index), height // h, width // w)


def uniform_frame_indices(num_frames: int, num_sampled_frames: int) -> list[int]:
    """Return the frames of uniform frame sampling: round((i + 1) T / (n + 1)), halves to even, for i < n.

    Neither the first nor the last frame is taken (8 of 32: 4, 7, 11, 14, 18, 21, 25, 28). When n >= T, all T.

    Deviation: for some (T, n) the rounding of the official floating-point range returns n + 1 indices; this
    returns exactly n.
    """
    if num_sampled_frames >= num_frames:
        return list(range(num_frames))
    step = num_frames / (num_sampled_frames + 1)
    return [min(round((i + 1) * step), num_frames - 1) for i in range(num_sampled_frames)]


def traced_indices(clip: Float[Tensor, "B C T H W"], num_sampled_frames: int) -> Int[Tensor, " n"]:
    """``uniform_frame_indices`` of n frames or more, in a graph whose number of frames may be a symbol."""
    n = num_sampled_frames
    if isinstance(clip.shape[2], int):
        return torch.tensor(uniform_frame_indices(clip.shape[2], n), device=clip.device)
    torch._check(clip.shape[2] >= n)
    count = torch.ones_like(clip[0, 0, :, 0, 0], dtype=torch.float64).sum()  # T
    first = torch.arange(n, device=clip.device)
    spread = ((first + 1).double() * (count / (n + 1))).round().minimum(count - 1).long()  # halves to even
    return torch.where(count > n, spread, first)


def check_channels(clip: Tensor, expected: int) -> None:
    if clip.shape[1] != expected:
        raise TubeletError(
            f"clip of shape {tuple(clip.shape)} has {clip.shape[1]} channels where the model expects {expected}; "
            "clips are (batch, channels, frames, height, width)"
        )


def whole_patches(
    clip: Float[Tensor, "B C T H W"], tubelet_size: Grid, grid: Grid, remainder: Remainder
) -> Float[Tensor, "B C T2 H2 W2"]:
    """The clip as far as whole tubelets reach. "drop" leaves the rest out at the end of each axis, as a convolution
    without padding does, whose stride is its kernel.

    Args:
        tubelet_size: (t, h, w) in frames and pixels; of a patch, t is 1.
        grid: tokens that the model was made for, which a message names.

    Raises:
        TubeletError: the clip is not a whole number of tubelets, and the rest is refused or is all of an axis.
    """
    size = clip.shape[2:]
    t, h, w = (a // b * b for a, b in zip(size, tubelet_size, strict=True))
    if remainder == "drop" and torch.compiler.is_exporting():  # a graph does not know whether there is a rest
        return clip[:, :, :t, :h, :w]
    if (t, h, w) == tuple(size) and t * h * w:
        return clip
    if remainder == "drop" and t * h * w:
        return clip[:, :, :t, :h, :w]
    asked = "x".join(f"{a / b:g}" for a, b in zip(size, tubelet_size, strict=True))
    made_for = "x".join(map(str, grid))
    nearest = tuple(max(b, a // b * b) for a, b in zip(size, tubelet_size, strict=True))
    raise TubeletError(
        f"a clip of {'x'.join(map(str, size))} (frames x height x width) gives a grid of {asked} tokens, which is "
        f"not whole (tubelets are {'x'.join(map(str, tubelet_size))}, the model was made for a grid of {made_for}); "
        f"set remainder to drop, which leaves out the rest, or use for example {'x'.join(map(str, nearest))}"
    )


def lecun_normal_(weight: Tensor, fan_in: int) -> None:
    """Truncated normal with variance 1 / fan_in, as flax's ``lecun_normal`` draws the patch embedding."""
    # flax corrects for the truncation at two standard deviations by this constant.
    std = math.sqrt(1.0 / fan_in) / 0.87962566103423978
    with torch.no_grad():
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
