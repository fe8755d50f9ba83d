"""Attention against a dense softmax written out over all tokens, with an explicit mask."""

from __future__ import annotations

import pytest
import torch
from dense_reference import dense_attention, same_place, same_time

from tubelet.nn.attention import Attention, FactorizedDotProductAttention

T, S, D, HEADS = 3, 4, 8, 2


def randomize(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)


def test_attention_equals_a_written_out_softmax() -> None:
    attention = Attention(D, HEADS).double()
    randomize(attention)
    x = torch.randn(2, T * S, D, dtype=torch.float64)
    everything = torch.ones(T * S, T * S, dtype=torch.bool)
    torch.testing.assert_close(attention(x), dense_attention(attention, x, everything))


def test_leading_axes_are_independent_of_each_other() -> None:
    attention = Attention(D, HEADS).double()
    randomize(attention)
    x = torch.randn(2, T, S, D, dtype=torch.float64)
    masked = dense_attention(attention, x.flatten(1, 2), same_time(T, S)).unflatten(1, (T, S))
    torch.testing.assert_close(attention(x), masked)


def test_tokens_marked_invalid_are_not_looked_at() -> None:
    attention = Attention(D, HEADS).double()
    randomize(attention)
    x = torch.randn(2, 5, D, dtype=torch.float64)
    valid = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    out = attention(x, valid)
    torch.testing.assert_close(out[0, :3], attention(x[:1, :3])[0])
    torch.testing.assert_close(out[1], attention(x[1:])[0])


def test_first_half_of_the_heads_sees_its_place_and_the_second_half_its_time() -> None:
    attention = FactorizedDotProductAttention(D, 4).double()
    randomize(attention)
    x = torch.randn(2, T, S, D, dtype=torch.float64)
    masks = torch.stack([same_place(T, S)] * 2 + [same_time(T, S)] * 2)
    expected = dense_attention(attention, x.flatten(1, 2), masks)
    torch.testing.assert_close(attention(x).flatten(1, 2), expected)


@pytest.mark.parametrize("kind", [Attention, FactorizedDotProductAttention])
def test_dropout_on_attention_acts_in_training_only(kind: type[Attention]) -> None:
    attention = kind(D, HEADS, attn_drop=0.5)
    x = torch.randn(2, T, S, D)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_each_projection_starts_xavier_uniform_as_a_square_matrix_of_its_own() -> None:
    attention = Attention(96, 4)
    limit = (6 / (96 + 96)) ** 0.5
    for projection in (*attention.qkv.weight.chunk(3), attention.proj.weight):
        assert 0.99 * limit < projection.abs().max().item() <= limit
    assert not attention.qkv.bias.any()
    assert not attention.proj.bias.any()


def test_query_key_value_bias_can_be_left_out() -> None:
    attention = Attention(D, HEADS, qkv_bias=False)
    assert attention.qkv.bias is None
    assert attention(torch.zeros(1, 3, D)).shape == (1, 3, D)
