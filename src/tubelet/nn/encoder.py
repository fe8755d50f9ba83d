"""A transformer encoder with its own class token, position table and final LayerNorm.

Model 1 of ViViT is one of these over all tokens; Model 2 is one over each time index and one over time.
Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py`` (``Encoder``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.nn.block import Block
from tubelet.nn.patch_dropout import PatchDropout
from tubelet.nn.position import PositionTable
from tubelet.types import GlobalPool, Grid


class Encoder(nn.Module):
    """Class token (with ``global_pool="token"``) + position table + blocks + LayerNorm, over the last but one axis."""

    position_table: type[PositionTable] = PositionTable
    layer_norm: type[nn.LayerNorm] = nn.LayerNorm

    def __init__(
        self,
        blocks: Sequence[Block],
        grid: Grid,
        embed_dim: int,
        global_pool: GlobalPool,
        drop_rate: float = 0.0,
        norm_eps: float = 1e-6,
        patch_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.global_pool = global_pool
        self.cls_token = nn.Parameter(torch.zeros(embed_dim)) if global_pool == "token" else None
        self.pos_embed = self.position_table(grid, embed_dim, num_prefix=int(global_pool == "token"))
        self.pos_drop = nn.Dropout(drop_rate)
        self.patch_drop = PatchDropout(patch_drop_rate, num_prefix=int(global_pool == "token"))
        self.blocks = nn.ModuleList(blocks)
        self.norm = self.layer_norm(embed_dim, eps=norm_eps)

    def forward(
        self,
        x: Float[Tensor, "*lead N D"],
        grid: Grid,
        valid: Bool[Tensor, "*lead N"] | None = None,
        visible: Int[Tensor, "*lead V"] | None = None,
    ) -> Float[Tensor, "*lead N_out D"]:
        """Return all tokens after the final LayerNorm.

        N_out is N, or N + 1 with a class token in front, minus the tokens that patch dropout drops in training (an
        encoder over time drops none). In an encoder over time, ``valid`` is False at the padding of a shorter video:
        no token attends to it, and the video has the positions of its own length. ``visible`` are the indices of the
        tokens that enter the blocks, for masked pre-training; each keeps the position of its place, patch dropout is
        off, and N_out is V, or V + 1.
        """
        positions = self.pos_embed(grid) if valid is None else self.pos_embed.for_valid(valid)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(*x.shape[:-2], 1, -1), x], dim=-2)
            valid = None if valid is None else F.pad(valid, (1, 0), value=True)
        x = self.pos_drop(x + positions)
        x = self.patch_drop(x, grid) if visible is None else self._only(x, visible)
        for block in self.blocks:
            x = block(x, valid)
        return self.norm(x)

    def _only(self, x: Float[Tensor, "*lead N_all D"], visible: Int[Tensor, "*lead V"]) -> Float[Tensor, "*lead V2 D"]:
        """The class token, where there is one, and the visible tokens."""
        index = F.pad(visible + 1, (1, 0), value=0) if self.cls_token is not None else visible
        return x.gather(-2, index[..., None].expand(*index.shape, x.shape[-1]))

    def pool(
        self, x: Float[Tensor, "*lead N_out D"], valid: Bool[Tensor, "*lead N"] | None = None
    ) -> Float[Tensor, "*lead D"]:
        """Pool the tokens that ``forward`` returned to one vector. ``valid`` is the mask that ``forward`` took."""
        return pool_tokens(x, self.global_pool, None if self.cls_token is not None else valid)


def pool_tokens(
    x: Float[Tensor, "*lead N D"], kind: GlobalPool, valid: Bool[Tensor, "*lead N"] | None = None
) -> Float[Tensor, "*lead D"]:
    """Return the first token, or the mean, maximum or sum of the valid tokens."""
    if kind in ("token", "first"):
        return x[..., 0, :]
    if kind == "max":
        return (x if valid is None else x.masked_fill(~valid.unsqueeze(-1), float("-inf"))).amax(-2)
    if valid is None:
        return x.mean(-2) if kind == "avg" else x.sum(-2)
    total = (x * valid.unsqueeze(-1)).sum(-2)
    return total / valid.sum(-1, keepdim=True) if kind == "avg" else total
