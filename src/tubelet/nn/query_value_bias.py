"""Attention whose queries and values have a bias and whose keys have none (BEiT, VideoMAE).

A bias of the keys adds the same amount to all scores of a query, which softmax takes away again. So a key bias of zero
computes the same, but it is no substitute in training: its gradient is rounding noise, and an optimizer that divides
by the size of gradients (AdamW) would move it at the full rate. Here it does not exist.

    *lead  any leading axes   N  tokens   D  embedding width
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.nn.attention import Attention
from tubelet.nn.block import Block
from tubelet.nn.linear import Linear, linear


class QueryValueLinear(Linear):
    """The stacked projections of query, key and value, with a bias of the first and of the last."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__(embed_dim, 3 * embed_dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(embed_dim))
        self.v_bias = nn.Parameter(torch.zeros(embed_dim))

    def forward(self, x: Float[Tensor, "*lead N D"]) -> Float[Tensor, "*lead N D3"]:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])  # 3 D
        return linear(x, self.weight, bias)


class QueryValueBiasAttention(Attention):
    """:class:`Attention` whose ``qkv_bias`` is one of query and value."""

    def __init__(
        self, embed_dim: int, num_heads: int, qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0
    ) -> None:
        super().__init__(embed_dim, num_heads, False, attn_drop, proj_drop)
        if qkv_bias:
            weight = self.qkv.weight
            self.qkv = QueryValueLinear(embed_dim)
            self.qkv.weight = weight  # with its initial values


class QueryValueBiasBlock(Block):
    """:class:`Block` with this attention."""

    attention = QueryValueBiasAttention
