"""Rotary positions over time, height and width: queries and keys are turned by angles that grow with the position.

Sources: "RoFormer" (arXiv 2104.09864); V-JEPA 2 (arXiv 2506.09985), facebookresearch/vjepa2, commit c2963a47,
``src/models/utils/modules.py``.

A head has n = 2 * (head_dim // 3 // 2) channels for each of the three axes, in the order time, height, width; the rest
is not turned. Channels 2j and 2j + 1 are a pair. A true rotation turns both by the same angle
(``angles="paired"``). V-JEPA 2 turns channel c of an axis by frequency c mod n/2 (``"tiled"``), which is none, and
whose weights need it.

    *lead  any leading axes   L  product of them   N  tokens   D  width   heads x head_dim = D
    R = 3 n  channels of a head that are turned
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.nn.attention import Attention, split_heads
from tubelet.nn.block import Block
from tubelet.types import Grid

Angles = Literal["tiled", "paired"]
_BASE = 10000.0  # the slowest frequency is nearly one over it


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Cosine and sine of the angle of every token and turned channel, the same for all heads."""

    cos: Float[Tensor, "L 1 N R"]  # L is 1 where all videos have the same tokens
    sin: Float[Tensor, "L 1 N R"]

    def __call__(self, x: Float[Tensor, "L heads N head_dim"]) -> Float[Tensor, "L heads N head_dim"]:
        """The queries or keys, turned; in the precision of the angles, and given back in that of ``x``."""
        turned, rest = x.split((self.cos.shape[-1], x.shape[-1] - self.cos.shape[-1]), dim=-1)
        even, odd = turned.unflatten(-1, (-1, 2)).unbind(-1)  # L heads N R/2
        quarter = torch.stack([-odd, even], dim=-1).flatten(-2)  # each pair turned by 90 degrees
        turned = (turned * self.cos + quarter * self.sin).to(x.dtype)
        return torch.cat([turned, rest], dim=-1)


def token_coordinates(index: Int[Tensor, "*lead N"], grid: Grid) -> Int[Tensor, "*lead N 3"]:
    """Time, row and column of tokens that are counted time by time, row by row."""
    _, n_h, n_w = grid
    return torch.stack([index // (n_h * n_w), index // n_w % n_h, index % n_w], dim=-1)


def rotation_of(
    index: Int[Tensor, "L N"],
    grid: Grid,
    head_dim: int,
    angles: Angles,
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Rotation:
    """The rotation of the tokens with these numbers on a grid (n_t, n_h, n_w).

    Args:
        scale: what the positions in time, height and width are multiplied by.
    """
    num_pairs = pairs_per_axis(head_dim)
    frequency = _BASE ** (-torch.arange(num_pairs, device=index.device) / num_pairs)  # n/2
    position = token_coordinates(index, grid) * torch.tensor(scale, device=index.device)  # L N 3
    angle = position[..., None] * frequency  # L N 3 n/2
    layout = "l n dim pair -> l 1 n (dim two pair)" if angles == "tiled" else "l n dim pair -> l 1 n (dim pair two)"
    angle = repeat(angle, layout, two=2)  # L 1 N R
    return Rotation(cos=angle.cos(), sin=angle.sin())


def all_tokens(grid: Grid, device: torch.device) -> Int[Tensor, "1 N"]:
    """The numbers of all tokens of a grid."""
    return torch.arange(math.prod(grid), device=device)[None]


def pairs_per_axis(head_dim: int) -> int:
    """Pairs of channels that each of the three axes turns."""
    return head_dim // 3 // 2


class RotaryAttention(Attention):
    """:class:`Attention` whose queries and keys are turned by the positions of their tokens."""

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "*lead N D"], rotation: Rotation
    ) -> Float[Tensor, "*lead N D"]:
        lead = x.shape[:-2]
        q, k, v = split_heads(self.qkv(x), self.num_heads)  # each L heads N head_dim
        q, k = rotation(q), rotation(k)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        x = rearrange(x, "l heads n head_dim -> l n (heads head_dim)")
        return self.proj_drop(self.proj(x)).unflatten(0, lead)  # *lead N D


class RotaryBlock(Block):
    """:class:`Block` with this attention."""

    attention = RotaryAttention

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "*lead N D"], rotation: Rotation
    ) -> Float[Tensor, "*lead N D"]:
        x = x + self.drop_path1(self.attn(self.norm1(x), rotation))
        return x + self.drop_path2(self.mlp(self.norm2(x)))
