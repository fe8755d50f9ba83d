"""An image ViT as the trunk of a video model: patches of every frame, positions, blocks, and the tokens of each layer.

Source: OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py`` (``VisionTransformer``); what
differs between pretrainings from timm's ``vision_transformer.py``, ``deit.py`` and ``beit.py``.

    B  videos   C  channels   T, H, W  clip   T'  time indices behind the stem   p  patch   S = h w  patches of a frame
    N = 1 + S   D  embedding width
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from tubelet.models.uniformerv2.config import TrunkActivation, TrunkStyle
from tubelet.models.uniformerv2.local_block import LocalUniBlock
from tubelet.models.uniformerv2.quick_gelu import QuickGeluMlp
from tubelet.nn.block import make_mlp
from tubelet.nn.linear import linear
from tubelet.nn.tokenizer import check_channels, whole_patches
from tubelet.types import Grid, Remainder

log = logging.getLogger(__name__)


class FrameStem(nn.Module):
    """The patch convolution of an image ViT over one frame, or inflated over ``kernel`` frames.

    Its stride is ``stride`` frames and one patch; frames beyond the ends are zero, so that T frames give
    ceil(T / stride) time indices, whatever T is. Computed as one matrix product; ``proj`` holds the parameters in
    convolution layout ``[D, C, kernel, p, p]``.
    """

    def __init__(
        self,
        patch_size: int,
        in_channels: int,
        embed_dim: int,
        kernel: int,
        stride: int,
        bias: bool,
        remainder: Remainder = "refuse",
    ) -> None:
        super().__init__()
        self.remainder = remainder
        self.padding = (kernel - 1) // 2
        self.proj = nn.Conv3d(
            in_channels,
            embed_dim,
            kernel_size=(kernel, patch_size, patch_size),
            stride=(stride, patch_size, patch_size),
            padding=(self.padding, 0, 0),
            bias=bias,
        )

    def forward(self, clip: Float[Tensor, "B C T H W"], made_for: tuple[int, int]) -> Float[Tensor, "B T2 S D"]:
        """Patches of every time index. ``made_for`` is the grid that a message names.

        Raises:
            TubeletError: the frames cannot be cut into whole patches, or have another number of channels.
        """
        kernel, p, _ = self.proj.kernel_size
        check_channels(clip, self.proj.in_channels)
        clip = whole_patches(clip, (1, p, p), (clip.shape[2], *made_for), self.remainder)
        clip = F.pad(clip, (0, 0, 0, 0, self.padding, self.padding)) if self.padding else clip
        near = clip.unfold(2, kernel, self.proj.stride[0])  # B C T' H W kernel
        patches = rearrange(near, "b c t (h p) (w q) k -> b t (h w) (c k p q)", p=p, q=p)
        return linear(patches, self.proj.weight.flatten(1), self.proj.bias)  # B T' S D


class ImagePositions(nn.Module):
    """A row for the class token, where ``with_class``, and one per patch; the same for every frame.

    Another grid than the one it was made for interpolates the rows of patches (bicubic, as timm does) and keeps the
    row of the class token; the change is logged once per grid.
    """

    def __init__(self, grid: tuple[int, int], embed_dim: int, with_class: bool) -> None:
        super().__init__()
        self.grid = grid
        self.with_class = with_class
        self.table = nn.Parameter(torch.randn(with_class + grid[0] * grid[1], embed_dim) * embed_dim**-0.5)
        self._logged: set[tuple[int, int]] = set()

    def forward(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B T N D"]:
        rows = self.rows(grid)
        if not self.with_class:
            rows = F.pad(rows, (0, 0, 1, 0))  # 1+S D
        return x + rows

    @torch.no_grad()
    def fit_(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> None:
        """Make this a table of ``grid``."""
        if grid != self.grid:
            self.table, self.grid = nn.Parameter(self.rows(grid)), grid

    def rows(self, grid: tuple[int, int]) -> Float[Tensor, "rows D"]:
        if grid == self.grid:
            return self.table
        if grid not in self._logged:
            log.info("position table of grid %sx%s resized to %sx%s", *self.grid, *grid)
            self._logged.add(grid)
        return resample_abs_pos_embed(self.table[None], list(grid), list(self.grid), int(self.with_class))[0]

    def extra_repr(self) -> str:
        return f"grid={self.grid}, with_class={self.with_class}"


class NoPositions(nn.Module):
    """For trunks whose attention knows where patches are."""

    def forward(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B T N D"]:
        return x


class ImageTrunk(nn.Module):
    """Stem, class token of every frame, positions, pre-norm and blocks. There is no final norm.

    Frames meet only in the stem and in the temporal branches of blocks, where there are any.
    """

    def __init__(
        self,
        stem: FrameStem,
        blocks: Sequence[LocalUniBlock],
        grid: tuple[int, int],
        embed_dim: int,
        style: TrunkStyle,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.stem = stem
        self.cls_token = nn.Parameter(torch.randn(embed_dim) * embed_dim**-0.5)
        self.pos_embed: nn.Module = NoPositions()
        if style.position != "relative":
            self.pos_embed = ImagePositions(grid, embed_dim, style.position == "class_and_patches")
        self.norm_pre = nn.LayerNorm(embed_dim, eps=style.norm_eps) if style.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, clip: Float[Tensor, "B C T H W"], keep: Sequence[int]
    ) -> tuple[list[Float[Tensor, "B T2 N D"]], Float[Tensor, "B T2 D"], tuple[int, int]]:
        """The tokens behind the blocks ``keep``, the class tokens behind the last block, and the grid (h, w)."""
        x, grid = self.embed(clip)  # B T' N D
        kept = []
        for i, block in enumerate(self.blocks):
            x = block(x, grid)  # B T' N D
            if i in keep:
                kept.append(x)
        return kept, x[:, :, 0], grid

    def token_grid(self, clip_size: Grid) -> Grid:
        """Time indices behind the stem and patches (h, w) of a clip (T, H, W)."""
        p, stride = self.stem.proj.kernel_size[1], self.stem.proj.stride[0]
        return -(-clip_size[0] // stride), clip_size[1] // p, clip_size[2] // p

    def embed(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B T2 N D"], tuple[int, int]]:
        """What enters the first block, and the grid of patches."""
        p = self.stem.proj.kernel_size[1]
        grid = (clip.shape[3] // p, clip.shape[4] // p)
        x = self.stem(clip, self.grid)  # B T' S D
        class_token = self.cls_token.to(x.dtype).expand(*x.shape[:2], 1, -1)
        x = self.pos_embed(torch.cat([class_token, x], dim=2), grid)  # B T' 1+S D
        return self.norm_pre(x), grid


def make_trunk_mlp(embed_dim: int, activation: TrunkActivation) -> nn.Module:
    """The MLP of a trunk's block, four times as wide inside."""
    if activation == "quick_gelu":
        return QuickGeluMlp(embed_dim, 4 * embed_dim)
    return make_mlp(embed_dim, 4.0, activation, 0.0)
