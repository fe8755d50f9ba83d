"""Attention for long sequences: every frame sees its neighbors and the class token, the class token sees everything.

Source: VTN (arXiv 2102.00719) section 3.2; bomri/SlowFast, commit 00a68201, ``slowfast/models/vtn_helper.py``, and the
Longformer of HuggingFace transformers that it instantiates.

    B  videos   T  frames   L = 1 + T  tokens, the class token first   D  width   heads x hd = D   w  window

Work of the original that changes no result is not done: no padding to the window, global keys and values folded into
the one query that uses them, and of the last layer (which only the class token leaves) only that token's row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.nn.attention import attention_probs, split_heads
from tubelet.nn.attention_steps import EVERYWHERE, NOWHERE, AttentionStep, clip_tokens, frames_step
from tubelet.nn.linear import Linear

ROWS = 4096  # tokens whose queries and feed-forward are computed at once: bounds the memory of a long video
_DENSE = 512  # up to so many keys one masked attention is faster than attention over blocks
_BLOCK = 64  # queries of a block; measured as fast as 32 and 128 on a CPU


class LongformerAttention(nn.Module):
    """Attention of width ``window`` (so many neighbors in total, half on each side, and the frame itself).

    ``qkv`` holds query, key and value stacked; the three global projections serve the class token's query alone.

    Raises:
        ValueError: the window is not positive and even.
    """

    def __init__(self, embed_dim: int, num_heads: int, window: int, attn_drop: float = 0.0) -> None:
        super().__init__()
        if window <= 0 or window % 2:
            raise ValueError(f"window must be positive and even, got {window}")
        self.num_heads = num_heads
        self.window = window
        self.attn_drop = attn_drop
        self.qkv = Linear(embed_dim, 3 * embed_dim)
        self.query_global = nn.Linear(embed_dim, embed_dim)
        self.key_global = Linear(embed_dim, embed_dim)
        self.value_global = Linear(embed_dim, embed_dim)
        self.proj = Linear(embed_dim, embed_dim)

    def forward(
        self, x: Float[Tensor, "B L D"], start: int, stop: int, valid: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "B rows D"]:
        """What the tokens ``start`` to ``stop`` (excluded) gather, before ``proj``; the class token is 0."""
        rows = [self.class_token(x, valid)] if start == 0 else []
        if stop > 1:
            rows.append(self.frames(x, max(1, start), stop, valid))
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)

    def attention_step(self, call: int, num_frames: int) -> AttentionStep:
        """What a recorder sees: first the class token, then ``ROWS`` tokens at a time."""
        frames = frames_step(num_frames, 1).keys  # 1 L 3
        assert frames is not None
        if call == 0:
            return AttentionStep(kind="pool", queries=clip_tokens(1, 1), keys=frames)
        start, stop, half = max(1, (call - 1) * ROWS), min(call * ROWS, num_frames + 1), self.window // 2
        first, last = max(1, start - half), min(num_frames + 1, stop + half)
        if last - first <= _DENSE:
            keys = torch.cat([frames[:, :1], frames[:, first:last]], dim=1)
            return AttentionStep(kind="window", queries=frames[:, start:stop], keys=keys)
        rows, count = torch.arange(_BLOCK), -(-(stop - start) // _BLOCK)
        begin = start + _BLOCK * torch.arange(count).unsqueeze(1)  # blocks 1
        near = begin - half + torch.arange(_BLOCK + self.window)  # blocks block+w
        keys = torch.cat([clip_tokens(count, 1), _frames_at(near, first, last)], dim=1)
        return AttentionStep(kind="window", queries=_frames_at(begin + rows, start, stop), keys=keys)

    def class_token(self, x: Float[Tensor, "B L D"], valid: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B 1 D"]:
        """What the class token gathers from all tokens, before ``proj``.

        Its keys are folded into its query, and its values applied after the mean: one row per head, not per token.
        """
        q = rearrange(self.query_global(x[:, 0]), "b (heads hd) -> b heads hd", heads=self.num_heads)
        key = rearrange(self.key_global.weight, "(heads hd) d -> heads hd d", heads=self.num_heads)
        shift = (q * self.key_global.bias.unflatten(0, (self.num_heads, -1))).sum(-1, keepdim=True)  # B heads 1
        folded = torch.einsum("bhc,hcd->bhd", q, key)  # B heads D
        scores = (folded @ x.mT + shift).float() * q.shape[-1] ** -0.5  # B heads L
        if valid is not None:
            scores = scores.masked_fill(~valid.unsqueeze(1), float("-inf"))
        drop = self.attn_drop if self.training else 0.0
        probs = attention_probs(scores.unsqueeze(2), x.unsqueeze(1), drop).squeeze(2)  # B heads L
        mean = probs @ x  # B heads D
        value = rearrange(self.value_global.weight, "(heads hd) d -> heads hd d", heads=self.num_heads)
        bias = self.value_global.bias.unflatten(0, (self.num_heads, -1)) * probs.sum(-1, keepdim=True)
        out = torch.einsum("bhd,hcd->bhc", mean, value) + bias  # B heads hd
        return rearrange(out, "b heads hd -> b 1 (heads hd)")

    def frames(
        self, x: Float[Tensor, "B L D"], start: int, stop: int, valid: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "B rows D"]:
        """What the frame tokens ``start`` to ``stop`` (excluded; the first frame is 1) gather, before ``proj``."""
        first, last = max(1, start - self.window // 2), min(x.shape[1], stop + self.window // 2)
        tokens = torch.cat([x[:, :1], x[:, first:last]], dim=1)  # B 1+keys D
        q, k, v = split_heads(self.qkv(tokens), self.num_heads)  # each B heads 1+keys hd
        q = q[:, :, 1 + start - first : 1 + stop - first]  # B heads rows hd
        seen = None if valid is None else torch.cat([valid[:, :1], valid[:, first:last]], dim=1)
        # An exported graph has no branch, and follows any number of frames: it pays for attention over all of them.
        dense = torch.compiler.is_exporting() or last - first <= _DENSE
        attend = self._dense if dense else self._banded
        out = attend(q, k, v, start - first, seen)  # B heads rows hd
        return rearrange(out, "b heads n hd -> b n (heads hd)")

    def _dense(self, q: Tensor, k: Tensor, v: Tensor, offset: int, seen: Tensor | None) -> Tensor:
        """One attention with a mask; query i stands at key 1 + offset + i."""
        distance = torch.arange(k.shape[2] - 1, device=q.device) - torch.arange(q.shape[2], device=q.device)[:, None]
        band = (distance - offset).abs() <= self.window // 2  # rows keys
        mask = F.pad(band, (1, 0), value=True)  # rows 1+keys
        if seen is not None:
            mask = mask & seen[:, None, None]  # B 1 rows 1+keys
        return self._attend(q, k, v, mask)

    def _banded(self, q: Tensor, k: Tensor, v: Tensor, offset: int, seen: Tensor | None) -> Tensor:
        """Blocks of queries, each with its own keys (block + window of them) and the class token's in front."""
        rows, num_keys, half = q.shape[2], k.shape[2] - 1, self.window // 2
        blocks = -(-rows // _BLOCK)
        left, total = half - offset, blocks * _BLOCK + self.window
        right = max(0, total - left - num_keys)

        def cut(x: Tensor) -> Tensor:  # B heads 1+keys hd -> (B blocks) heads 1+block+w hd
            near = F.pad(x[:, :, 1:], (0, 0, left, right)).unfold(2, _BLOCK + self.window, _BLOCK)[:, :, :blocks]
            near = rearrange(near, "b heads blocks hd keys -> b blocks heads keys hd")
            token = x[:, None, :, :1].expand(-1, blocks, -1, -1, -1)
            return torch.cat([token, near], dim=3).flatten(0, 1)

        places = torch.arange(_BLOCK + self.window, device=q.device)
        distance = places - torch.arange(_BLOCK, device=q.device)[:, None]
        band = F.pad((distance >= 0) & (distance <= self.window), (1, 0), value=True)  # block 1+block+w
        exists = torch.ones(1, num_keys + 1, dtype=torch.bool, device=q.device) if seen is None else seen
        near = F.pad(exists[:, 1:], (left, right)).unfold(1, _BLOCK + self.window, _BLOCK)[:, :blocks]
        near = F.pad(near, (1, 0), value=True).expand(q.shape[0], -1, -1)  # B blocks 1+block+w
        mask = (band & near.unsqueeze(2)).flatten(0, 1).unsqueeze(1)  # (B blocks) 1 block 1+block+w
        q = F.pad(q, (0, 0, 0, blocks * _BLOCK - rows))
        q = rearrange(q, "b heads (blocks n) hd -> (b blocks) heads n hd", blocks=blocks)
        out = self._attend(q, cut(k), cut(v), mask)
        return rearrange(out, "(b blocks) heads n hd -> b heads (blocks n) hd", blocks=blocks)[:, :, :rows]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        drop = self.attn_drop if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)


class FullAttention(nn.Module):
    """The alternative to compare with: every token attends to every token, by one set of projections."""

    def __init__(self, embed_dim: int, num_heads: int, attn_drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = Linear(embed_dim, 3 * embed_dim)
        self.proj = Linear(embed_dim, embed_dim)

    def forward(
        self, x: Float[Tensor, "B L D"], start: int, stop: int, valid: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "B rows D"]:
        """What the tokens ``start`` to ``stop`` (excluded) gather, before ``proj``."""
        q, k, v = split_heads(self.qkv(x), self.num_heads)  # each B heads L hd
        mask = None if valid is None else valid[:, None, None]  # B 1 1 L
        drop = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q[:, :, start:stop], k, v, attn_mask=mask, dropout_p=drop)
        return rearrange(out, "b heads n hd -> b n (heads hd)")

    def attention_step(self, call: int, num_frames: int) -> AttentionStep:
        """What a recorder sees: ``ROWS`` tokens at a time."""
        frames = frames_step(num_frames, 1).keys  # 1 L 3
        assert frames is not None
        return AttentionStep(kind="time", queries=frames[:, call * ROWS : (call + 1) * ROWS], keys=frames)


class UniformAttention(nn.Module):
    """The paper's ablation of attention: every token takes the mean of all values, the same weight for each.

    Source: VTN section 4.3, which asks what learned weights are worth; heads have nothing to divide here.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.value = Linear(embed_dim, embed_dim)
        self.proj = Linear(embed_dim, embed_dim)

    def forward(
        self, x: Float[Tensor, "B L D"], start: int, stop: int, valid: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "B rows D"]:
        """What the tokens ``start`` to ``stop`` (excluded) gather, before ``proj``."""
        return self.value(self._mean(x, valid)).expand(-1, stop - start, -1)

    def _mean(self, x: Float[Tensor, "B L D"], valid: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B 1 D"]:
        """Of the tokens: the mean of their values is the value of it."""
        if valid is None:
            return x.mean(1, keepdim=True)
        weights = valid.unsqueeze(-1).to(x.dtype)  # B L 1
        return (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)


def _frames_at(tokens: Int[Tensor, "G N"], first: int, last: int) -> Int[Tensor, "G N 3"]:
    """Positions of tokens, of which 1 is frame 0; those that are not among ``first`` to ``last`` only fill a block."""
    place = torch.full((*tokens.shape, 3), EVERYWHERE)
    place[..., 0] = tokens - 1
    place[(tokens < first) | (tokens >= last)] = NOWHERE
    return place


class PostNormLayer(nn.Module):
    """``norm(x + attention(x))``, then ``norm(x + mlp(x))``, with the exact GELU (the order of BERT)."""

    def __init__(
        self,
        attention: LongformerAttention | FullAttention | UniformAttention,
        embed_dim: int,
        hidden_dim: int,
        drop_rate: float = 0.0,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.attn = attention
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.fc1 = Linear(embed_dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Float[Tensor, "B L D"], valid: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L D"]:
        """All tokens, ``ROWS`` at a time; ``valid`` is False for padding, which no token looks at."""
        if torch.compiler.is_exporting():
            return self._finish(x, self.attn(x, 0, x.shape[1], valid))
        done = []
        for start in range(0, x.shape[1], ROWS):
            stop = min(start + ROWS, x.shape[1])
            done.append(self._finish(x[:, start:stop], self.attn(x, start, stop, valid)))
        return done[0] if len(done) == 1 else torch.cat(done, dim=1)

    def class_token(self, x: Float[Tensor, "B L D"], valid: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """The first row of ``forward`` alone: all that is read of the last layer."""
        return self._finish(x[:, :1], self.attn(x, 0, 1, valid)).squeeze(1)

    def _finish(self, x: Float[Tensor, "B rows D"], gathered: Float[Tensor, "B rows D"]) -> Float[Tensor, "B rows D"]:
        x = self.norm1(x + self.drop(self.attn.proj(gathered)))
        return self.norm2(x + self.drop(self.fc2(F.gelu(self.fc1(x)))))
