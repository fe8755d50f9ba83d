"""UniFormerV2's local UniBlock: the block of an image ViT, with temporal branches before its attention and its MLP.

Source: "UniFormerV2" (ICCV 2023, arXiv 2211.09552) section 3; OpenGVLab/UniFormerV2, commit 722a4344,
``slowfast/models/uniformerv2_model.py`` (``Local_MHRA``, ``ResidualAttentionBlock``).

    B  videos   T  time indices   N = 1 + S  class token and patches of a frame   S = h w  patches   D  embedding width
    R  reduced width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from timm.layers import DropPath, LayerScale, gen_relative_position_index
from torch import Tensor, nn

from tubelet.nn.attention import Attention, split_heads
from tubelet.nn.linear import Linear


class LocalMHRA(nn.Module):
    """Local temporal relation aggregator: BatchNorm, D -> R, a depthwise convolution over 3 time indices, R -> D.

    There is no activation in it. The convolution pads with zeros behind the first projection. The last projection
    starts at zero, so that a fresh branch adds nothing.

    BatchNorm is over videos, time and space, with PyTorch's eps and momentum.
    """

    def __init__(self, embed_dim: int, dw_reduction: float = 1.5) -> None:
        super().__init__()
        reduced = int(embed_dim // dw_reduction)
        self.norm = nn.BatchNorm1d(embed_dim)
        self.reduce = Linear(embed_dim, reduced)
        self.conv = nn.Conv2d(reduced, reduced, (3, 1), padding=(1, 0), groups=reduced)  # over time, space
        self.expand = Linear(reduced, embed_dim)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Float[Tensor, "B T S D"]) -> Float[Tensor, "B T S D"]:
        x = self.norm(x.flatten(0, 2)).unflatten(0, x.shape[:3])  # B T S D
        x = rearrange(self.reduce(x), "b t s r -> b r t s")  # a view: channels last in memory
        x = rearrange(self.conv(x), "b r t s -> b t s r")  # B T S R
        return self.expand(x)


class LocalUniBlock(nn.Module):
    """Temporal branch, attention within each frame, temporal branch, MLP, each around the residual stream.

    ``local1`` and ``local2`` are the temporal branches before attention and MLP; without them this is the block of an
    image ViT. Class tokens do not pass through them. ``layer_scale`` is the first value of a learned factor per
    channel on attention and MLP, which some image ViTs have.

    Deviation: ``drop_path`` keeps or drops a branch for each video. The original drops token positions of the whole
    batch, because its tensors have another axis in front.
    """

    def __init__(
        self,
        attn: Attention,
        mlp: nn.Module,
        embed_dim: int,
        norm_eps: float,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        local1: LocalMHRA | None = None,
        local2: LocalMHRA | None = None,
    ) -> None:
        super().__init__()
        self.local1 = local1
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = attn
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(embed_dim, layer_scale)
        self.local2 = local2
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = mlp
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(embed_dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B T N D"]:
        x = self._over_time(x, self.local1)
        x = x + self.drop_path(self.ls1(self._attend(self.norm1(x), grid)))
        x = self._over_time(x, self.local2)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))

    def _attend(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B T N D"]:
        return self.attn(x)

    def _over_time(self, x: Float[Tensor, "B T N D"], branch: LocalMHRA | None) -> Float[Tensor, "B T N D"]:
        if branch is None:
            return x
        class_token, patches = x.split((1, x.shape[2] - 1), dim=2)
        patches = patches + self.drop_path(branch(patches))  # B T S D
        return torch.cat([class_token, patches], dim=2)


class RelativeLocalUniBlock(LocalUniBlock):
    """The same around attention that is told the grid of patches (BEiT)."""

    def _attend(self, x: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B T N D"]:
        return self.attn(x, grid)


class RelativeAttention(Attention):
    """Attention whose scores get a learned bias per head and per offset between patches, as BEiT's blocks have it.

    ``bias_table`` has a row per offset (2h - 1 by 2w - 1 of them), then one each for class to patch, patch to class
    and class to class: timm's layout. Another grid than the one it was made for interpolates the offsets (bicubic).
    """

    def __init__(self, embed_dim: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__(embed_dim, num_heads)
        self.grid = grid
        rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
        self.bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "*lead N D"], grid: tuple[int, int]
    ) -> Float[Tensor, "*lead N D"]:
        q, k, v = split_heads(self.qkv(x), self.num_heads)  # each L heads N head_dim, L = product of lead
        bias = self.bias(grid).to(q.dtype)  # heads N N
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out = rearrange(out, "l heads n head_dim -> l n (heads head_dim)")
        return self.proj(out).unflatten(0, x.shape[:-2])

    @torch.no_grad()
    def fit_(self, x: Float[Tensor, "*lead N D"], grid: tuple[int, int]) -> None:
        """Make this a table of the offsets of ``grid``."""
        if grid != self.grid:
            self.bias_table, self.grid = nn.Parameter(self._resized(grid)), grid

    def bias(self, grid: tuple[int, int]) -> Float[Tensor, "heads N N"]:
        table = self.bias_table if grid == self.grid else self._resized(grid)
        index = gen_relative_position_index(grid, class_token=True).to(table.device)  # N N
        return rearrange(table[index], "q k heads -> heads q k")

    def _resized(self, grid: tuple[int, int]) -> Float[Tensor, "rows heads"]:
        offsets, rest = self.bias_table[:-3], self.bias_table[-3:]
        old, new = ((2 * h - 1, 2 * w - 1) for h, w in (self.grid, grid))
        maps = rearrange(offsets, "(h w) heads -> 1 heads h w", h=old[0])
        maps = F.interpolate(maps, size=new, mode="bicubic", align_corners=False)
        return torch.cat([rearrange(maps, "1 heads h w -> (h w) heads"), rest])
