"""Multi-head attention: over all tokens, or half of the heads over time and half over space (ViViT Model 4).

Source: ViViT (arXiv 2103.15691) section 3.3; google-research/scenic, commit 4a38d475,
``projects/vivit/model.py`` and ``model_utils.py`` (``factorized_dot_product_attention``).

``nn/attention_recorder.py`` sees ``scaled_dot_product_attention`` and :func:`attention_probs`, the two ways in which
attention is computed here.

    *lead  any leading axes   N  tokens attended over   D  embedding width   heads x head_dim = D
    Q, K  queries and keys
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from tubelet.nn.linear import Linear


class Attention(nn.Module):
    """Multi-head self-attention over the last but one axis. Every axis before it is a batch axis.

    ``qkv`` holds the three projections stacked as query, key, value (timm's layout).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.proj = Linear(embed_dim, embed_dim)
        self.proj_drop = nn.Dropout(proj_drop)
        for projection in self.qkv.weight.chunk(3):  # each of the three is a matrix of its own, D x D
            nn.init.xavier_uniform_(projection)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)
        if qkv_bias:
            nn.init.zeros_(self.qkv.bias)

    def forward(
        self, x: Float[Tensor, "*lead N D"], valid: Bool[Tensor, "*lead N"] | None = None
    ) -> Float[Tensor, "*lead N D"]:
        """``valid`` is False for tokens that no token attends to (padding)."""
        lead = x.shape[:-2]
        q, k, v = split_heads(self.qkv(x), self.num_heads)  # each L heads N head_dim, L = product of lead
        mask = None if valid is None else valid.reshape(-1, 1, 1, valid.shape[-1])  # L 1 1 N
        x = self._attend(q, k, v, mask)  # L heads N head_dim
        x = rearrange(x, "l heads n head_dim -> l n (heads head_dim)")
        return self.proj_drop(self.proj(x)).unflatten(0, lead)  # *lead N D

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        drop = self.attn_drop if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)


class FactorizedDotProductAttention(Attention):
    """ViViT Model 4: the first half of the heads attends over time, the second half over space.

    The parameters are those of :class:`Attention`. Time heads see the tokens of their spatial index, space heads
    those of their time index; heads are concatenated in their order (time first) before the one projection.
    """

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "B T S D"]
    ) -> Float[Tensor, "B T S D"]:
        qkv = rearrange(self.qkv(x), "b t s (qkv heads hd) -> qkv b t s heads hd", qkv=3, heads=self.num_heads)
        time, space = qkv.chunk(2, dim=4)  # each 3 B T S heads/2 hd
        time = self._attend(*rearrange(time, "qkv b t s heads hd -> qkv (b s) heads t hd"))
        space = self._attend(*rearrange(space, "qkv b t s heads hd -> qkv (b t) heads s hd"))
        time = rearrange(time, "(b s) heads t hd -> b t s (heads hd)", b=x.shape[0])
        space = rearrange(space, "(b t) heads s hd -> b t s (heads hd)", b=x.shape[0])
        return self.proj_drop(self.proj(torch.cat([time, space], dim=-1)))  # B T S D


class SoftCappedAttention(Attention):
    """Attention whose scores stay below a cap: ``cap * tanh(scores / cap)``, after the scale and before the mask.

    No fused kernel computes it. Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/layers.py``.
    """

    soft_cap = 50.0  # of released models

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # L heads N N
        scores = self.soft_cap * torch.tanh(scores / self.soft_cap)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return attention_probs(scores, v, self.attn_drop if self.training else 0.0) @ v  # L heads N head_dim

    def extra_repr(self) -> str:
        return f"soft_cap={self.soft_cap:g}"


def attention_probs(
    scores: Float[Tensor, "*lead heads Q K"], values: Float[Tensor, "*lead value_heads K hd"], dropout_p: float = 0.0
) -> Float[Tensor, "*lead heads Q K"]:
    """Softmax and dropout, for attention that no fused kernel computes.

    ``values`` is what the caller applies the probabilities to, whose number format they get. A recorder takes this
    call's place, as in every function of torch.
    """
    if has_torch_function((scores, values)):
        given: Tensor = handle_torch_function(attention_probs, (scores, values), scores, values, dropout_p)
        return given
    return F.dropout(scores.softmax(-1).to(values.dtype), dropout_p)


def split_heads(qkv: Float[Tensor, "*lead N D3"], num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split the projection into query, key and value, each a view ``[L, heads, N, head_dim]``.

    L is the product of the leading axes. Query, key and value are split before the heads, because their gradients then
    share one copy; one rearrangement of all three stacks them and copies the stack, which costs 2 % of a block's
    attention in training.
    """
    parts = qkv.reshape(-1, *qkv.shape[-2:]).chunk(3, dim=-1)  # each L N D
    q, k, v = (rearrange(part, "l n (heads hd) -> l heads n hd", heads=num_heads) for part in parts)
    return q, k, v
