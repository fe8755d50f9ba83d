"""How UniFormerV2 makes one video token of the tokens of several layers: four strategies, one class each.

Source: "UniFormerV2" (ICCV 2023, arXiv 2211.09552) section 3 and Figure 3. The official code (OpenGVLab/UniFormerV2,
commit 722a4344) holds the first alone; what the paper leaves open in the other three is decided in their docstrings.

    B  videos   T  time indices   N = 1 + h w  class token and patches of a frame   Q  queries   D  width
    G_i  global block i   X_i  tokens of its layer   F_i  what it gives   q_i  its learned queries

Queries start at zero as in the original. Where a block has several they are drawn at random instead, for equal queries
would stay equal for ever. Several queries of one block are averaged at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.models.uniformerv2.global_block import GlobalUniBlock


class _Fusion(nn.Module):
    """What all strategies share: the blocks, their learned queries, and the keys of every layer."""

    queries_per_block = True  # or one set for all

    def __init__(self, blocks: Sequence[GlobalUniBlock], embed_dim: int, num_queries: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        sets = len(blocks) if self.queries_per_block else 1
        self.query = nn.Parameter(torch.zeros(sets, num_queries, embed_dim))
        if num_queries > 1:
            nn.init.normal_(self.query, std=0.02)

    def _queries(self, i: int, batch: int) -> Float[Tensor, "B Q D"]:
        return self.query[i].expand(batch, -1, -1)

    def _keys(
        self, i: int, tokens: Float[Tensor, "B T N D"], grid: tuple[int, int], valid: Bool[Tensor, "B T"] | None
    ) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"] | None]:
        """Keys of layer i and which of them count. What pads a short video is zero, as is what lies beyond its end."""
        block: Any = self.blocks[i]
        if valid is None:
            return block.keys(tokens, grid), None
        tokens = tokens.masked_fill(~valid[..., None, None], 0.0)
        return block.keys(tokens, grid), repeat(valid, "b t -> b (t n)", n=tokens.shape[2])


class SequentialFusion(_Fusion):
    """F_i = G_i(F_{i-1}, X_i): one set of queries passes through all blocks."""

    queries_per_block = False

    def forward(
        self,
        layers: Sequence[Float[Tensor, "B T N D"]],
        grid: tuple[int, int],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        x = self._queries(0, layers[0].shape[0])  # B Q D
        for i, tokens in enumerate(layers):
            x = self.blocks[i](x, *self._keys(i, tokens, grid, valid))  # B Q D
        return x.mean(1)


class ParallelFusion(_Fusion):
    """F = Concat(F_1 .. F_n) U with F_i = G_i(q_i, X_i): blocks do not know each other.

    U maps n D to D (the paper prints n x D) and starts as the mean of the F_i, which for one block is the identity.
    """

    def __init__(self, blocks: Sequence[GlobalUniBlock], embed_dim: int, num_queries: int = 1) -> None:
        super().__init__(blocks, embed_dim, num_queries)
        self.proj = nn.Linear(len(blocks) * embed_dim, embed_dim)
        with torch.no_grad():
            self.proj.weight.copy_(torch.eye(embed_dim).repeat(1, len(blocks)) / len(blocks))
        nn.init.zeros_(self.proj.bias)

    def forward(
        self,
        layers: Sequence[Float[Tensor, "B T N D"]],
        grid: tuple[int, int],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        given = []
        for i, tokens in enumerate(layers):
            x = self.blocks[i](self._queries(i, tokens.shape[0]), *self._keys(i, tokens, grid, valid))  # B Q D
            given.append(x.mean(1))
        return self.proj(torch.cat(given, dim=-1))  # B D


class HierarchicalKeyFusion(_Fusion):
    """F_i = G_i(q_i, [F_{i-1}, X_i]): what the last block gave is one more key.

    It is put in front of the tokens before their LayerNorm, and has no position. The first block sees tokens alone.
    """

    def forward(
        self,
        layers: Sequence[Float[Tensor, "B T N D"]],
        grid: tuple[int, int],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        x = self._queries(0, layers[0].shape[0])[:, :0]  # B 0 D: nothing was given yet
        for i, tokens in enumerate(layers):
            keys, counts = self._keys(i, tokens, grid, valid)
            if counts is not None:
                counts = torch.cat([counts.new_ones(x.shape[:2]), counts], dim=1)
            keys = torch.cat([x, keys], dim=1)  # B Q+M D
            x = self.blocks[i](self._queries(i, tokens.shape[0]), keys, counts)  # B Q D
        return x.mean(1)


class HierarchicalQueryFusion(_Fusion):
    """F_i = G_i([F_{i-1}, q_i], X_i): every block adds fresh queries to those that it was handed.

    Queries do not see each other inside a block, so a fresh query alone would ignore all earlier layers, and the
    handed-on one alone would be sequential fusion. F_i is therefore all of them, and the video token is their mean.
    """

    def forward(
        self,
        layers: Sequence[Float[Tensor, "B T N D"]],
        grid: tuple[int, int],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        x = self._queries(0, layers[0].shape[0])[:, :0]  # B 0 D
        for i, tokens in enumerate(layers):
            x = torch.cat([x, self._queries(i, tokens.shape[0])], dim=1)  # B (i+1)*Q D
            x = self.blocks[i](x, *self._keys(i, tokens, grid, valid))
        return x.mean(1)
