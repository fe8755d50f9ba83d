"""Models 3 and 4 are full attention over all tokens under a mask: whole models against one written out that way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dense_reference import dense_attention, same_place, same_time
from torch import Tensor, nn

from tiny_vivit import clips, tiny

N_T, N_S, HEADS = 4, 6, 4


def dense_model_3_block(block: Any, x: Tensor) -> Tensor:
    x = x + dense_attention(block.attn_space, block.norm_space(x), same_time(N_T, N_S))
    x = x + dense_attention(block.attn_time, block.norm_time(x), same_place(N_T, N_S))
    return x + block.mlp(block.norm_mlp(x))


def dense_model_3_block_time_first(block: Any, x: Tensor) -> Tensor:
    x = x + dense_attention(block.attn_time, block.norm_time(x), same_place(N_T, N_S))
    x = x + dense_attention(block.attn_space, block.norm_space(x), same_time(N_T, N_S))
    return x + block.mlp(block.norm_mlp(x))


def dense_model_4_block(block: Any, x: Tensor) -> Tensor:
    time, space = same_place(N_T, N_S), same_time(N_T, N_S)
    masks = torch.stack([time] * (HEADS // 2) + [space] * (HEADS // 2))
    x = x + dense_attention(block.attn, block.norm1(x), masks)
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize(
    ("kind", "options", "dense_block"),
    [
        ("fsa", {}, dense_model_3_block),
        ("fsa", {"attention_order": "time_space"}, dense_model_3_block_time_first),
        ("fdp", {}, dense_model_4_block),
    ],
)
def test_factorized_models_equal_a_masked_full_attention(
    kind: str, options: dict[str, str], dense_block: Callable[[Any, Tensor], Tensor]
) -> None:
    model = tiny(kind, num_heads=HEADS, **options).double()
    for name, parameter in model.named_parameters():
        if "attn" in name:
            nn.init.normal_(parameter, std=0.5)  # attention that is far from uniform
    clip = clips(2).double()
    x, grid = model.tokenizer(clip)
    assert grid == (N_T, 2, 3)
    x = x + model.pos_embed.table
    for block in model.blocks:
        x = dense_block(block, x)
    torch.testing.assert_close(model(clip), model.head(model.norm(x).mean(1)))
