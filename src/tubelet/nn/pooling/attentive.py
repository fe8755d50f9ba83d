"""The attentive probe of V-JEPA 2: self-attention over tokens, then one learned query that pools them.

Source: V-JEPA 2 (arXiv 2506.09985) section 4, facebookresearch/vjepa2, commit c2963a47,
``src/models/attentive_pooler.py``.

    B  videos   N  tokens   D  embedding width   heads x head_dim = D

V-JEPA 2 has it as its classifier; the attentive heads of ``tubelet probe`` are the same layers behind other encoders.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.nn.block import Block, make_mlp
from tubelet.nn.linear import Linear, initialize_linear_layers

_MLP_RATIO = 4.0  # whatever the encoder's is


class AttentivePooler(nn.Module):
    """``depth - 1`` ordinary blocks without positions over the tokens, then a block that pools them."""

    def __init__(self, embed_dim: int, num_heads: int, depth: int, norm_eps: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, _MLP_RATIO, activation="gelu", norm_eps=norm_eps) for _ in range(depth - 1)
        )
        self.query_token = nn.Parameter(torch.zeros(embed_dim))
        nn.init.trunc_normal_(self.query_token, std=0.02)
        self.pool = PoolingBlock(embed_dim, num_heads, norm_eps)
        initialize_linear_layers(self)

    def forward(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B D"]:
        """``valid`` is False for tokens that no token attends to (padding)."""
        x = self.tokens(x, valid)  # B N D
        return self.pool(self.query_token, x, valid)  # B D

    def tokens(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N D"]:
        """What the last block pools."""
        for block in self.blocks:
            x = block(x, valid)  # B N D
        return x


class PoolingBlock(nn.Module):
    """``q + attention(q, norm(tokens))``, then ``+ mlp(norm(.))``, for one query, which no norm precedes."""

    def __init__(self, embed_dim: int, num_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = PoolingAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = make_mlp(embed_dim, _MLP_RATIO, "gelu", 0.0)

    def forward(
        self, query: Float[Tensor, " D"], x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B D"]:
        pooled = query + self.attn(query, self.norm1(x), valid)  # B D
        return pooled + self.mlp(self.norm2(pooled))


class PoolingAttention(nn.Module):
    """Attention of one query over tokens; the heads are joined without a projection behind them."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dim, embed_dim)
        self.kv = Linear(embed_dim, 2 * embed_dim)

    def forward(
        self, query: Float[Tensor, " D"], x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B D"]:
        q = rearrange(
            self.q(query).expand(x.shape[0], 1, -1), "b one (heads hd) -> b heads one hd", heads=self.num_heads
        )
        k, v = rearrange(self.kv(x), "b n (kv heads hd) -> kv b heads n hd", kv=2, heads=self.num_heads)
        mask = None if valid is None else valid[:, None, None]  # B 1 1 N
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # B heads 1 hd
        return rearrange(x, "b heads 1 hd -> b (heads hd)")
