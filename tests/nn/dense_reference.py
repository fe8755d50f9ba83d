"""Attention the long way: every score of every pair of tokens, a mask, a softmax. Nothing of tubelet's forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tubelet.nn.attention import Attention


def dense_attention(attention: Attention, x: Tensor, may_see: Tensor) -> Tensor:
    """``x`` is [B, N, D]; ``may_see`` is [N, N] or [heads, N, N], True where the row's token sees the column's."""
    heads = attention.num_heads
    q, k, v = (
        nn.functional.linear(x, weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2)  # B heads N hd
        for weight, bias in zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
    )
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # B heads N N
    weights = scores.masked_fill(~may_see, float("-inf")).softmax(-1)
    attended: Tensor = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    return attended


def same_time(num_times: int, num_places: int) -> Tensor:
    """[N, N], True for pairs of tokens of one time index; tokens are ordered by time, then place."""
    time = torch.arange(num_times).repeat_interleave(num_places)
    return time[:, None] == time[None, :]


def same_place(num_times: int, num_places: int) -> Tensor:
    """[N, N], True for pairs of tokens of one place."""
    place = torch.arange(num_places).repeat(num_times)
    return place[:, None] == place[None, :]
