"""Attention pooling: one learned query over all tokens, without residual and MLP.

Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/layers.py`` (``AttenTokenPoolingLayer``).

    B  videos   N  tokens   D  embedding width   W  width of the pooling = heads x hd
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.nn.linear import Linear
from tubelet.nn.offset_norm import OffsetLayerNorm


class AttentionPool(nn.Module):
    """Attention of the query, projection, LayerNorm. Its scores are not capped.

    A learned vector, which all heads share, scales the channels of a query: by softplus(scale) / ln 2, which is 1 in
    a fresh model.
    """

    def __init__(self, embed_dim: int, width: int, num_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(embed_dim))
        self.q = nn.Linear(embed_dim, width)
        self.kv = Linear(embed_dim, 2 * width)
        self.per_dim_scale = nn.Parameter(torch.zeros(width // num_heads))
        self.proj = nn.Linear(width, embed_dim)
        self.norm = OffsetLayerNorm(embed_dim, eps=norm_eps)
        nn.init.xavier_uniform_(self.query[None])
        for weight in (self.q.weight, *self.kv.weight.chunk(2), self.proj.weight):
            nn.init.xavier_uniform_(weight)
        for layer in (self.q, self.kv, self.proj):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B D"]:
        """``valid`` is False for tokens that are not looked at (padding)."""
        q = rearrange(self.q(self.query), "(heads hd) -> 1 heads 1 hd", heads=self.num_heads)
        q = q * (F.softplus(self.per_dim_scale) / (math.log(2) * q.shape[-1] ** 0.5))
        k, v = rearrange(self.kv(x), "b n (kv heads hd) -> kv b heads n hd", kv=2, heads=self.num_heads)
        mask = None if valid is None else valid[:, None, None]  # B 1 1 N
        q = q.to(k.dtype).expand(x.shape[0], -1, -1, -1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)  # B heads 1 hd
        return self.norm(self.proj(rearrange(x, "b heads 1 hd -> b (heads hd)")))  # B D
