"""Pooling, and padding that leaves no trace."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tubelet.nn.block import Block
from tubelet.nn.encoder import Encoder, pool_tokens
from tubelet.types import GlobalPool

POOLS = get_args(GlobalPool)


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_ignores_padding(pool: GlobalPool) -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    valid = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    pooled = pool_tokens(x, pool, valid)
    torch.testing.assert_close(pooled[0], pool_tokens(x[0], pool))
    torch.testing.assert_close(pooled[1], pool_tokens(x[1, :2], pool))


def test_pooling_does_what_it_says() -> None:
    x = torch.tensor([[1.0, -2.0], [3.0, 0.0], [5.0, -4.0]])
    assert pool_tokens(x, "token").tolist() == [1, -2]
    assert pool_tokens(x, "first").tolist() == [1, -2]
    assert pool_tokens(x, "avg").tolist() == [3, -2]
    assert pool_tokens(x, "max").tolist() == [5, 0]
    assert pool_tokens(x, "sum").tolist() == [9, -6]


@pytest.mark.parametrize("pool", POOLS)
def test_only_token_pooling_has_a_class_token_and_it_starts_at_zero(pool: GlobalPool) -> None:
    encoder = Encoder([Block(8, 2)], (4, 1, 1), 8, pool)
    out = encoder(torch.randn(2, 4, 8), (4, 1, 1))
    if pool == "token":
        assert encoder.cls_token is not None
        assert not encoder.cls_token.any()
        assert out.shape == (2, 5, 8)
        assert encoder.pos_embed.table.shape == (5, 8)
    else:
        assert encoder.cls_token is None
        assert out.shape == (2, 4, 8)


@pytest.mark.parametrize("pool", POOLS)
def test_a_padded_sequence_gives_what_it_gives_alone(pool: GlobalPool) -> None:
    encoder = Encoder([Block(8, 2), Block(8, 2)], (4, 1, 1), 8, pool).double().eval()
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    lengths = (6, 4, 1)
    valid = torch.arange(6) < torch.tensor(lengths)[:, None]
    together = encoder.pool(encoder(x, (6, 1, 1), valid), valid)
    for i, length in enumerate(lengths):
        alone = encoder.pool(encoder(x[i : i + 1, :length], (length, 1, 1)))
        torch.testing.assert_close(together[i], alone[0])
