"""Attention in a window plus class token, however it is cut into blocks and rows, is one masked full attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tubelet.models.vtn import longformer
from tubelet.models.vtn.longformer import FullAttention, LongformerAttention, PostNormLayer, UniformAttention

WIDTH, HEADS = 24, 3


def attention(window: int) -> LongformerAttention:
    torch.manual_seed(0)
    return LongformerAttention(WIDTH, HEADS, window).double().eval()


def expected(attn: LongformerAttention, x: Tensor, valid: Tensor | None) -> Tensor:
    """Straight from the definition: frames see their window and the class token once, which sees all by its own
    three projections; every score is written out."""
    seen = torch.ones(x.shape[:2], dtype=torch.bool) if valid is None else valid
    place = torch.arange(x.shape[1])
    mask = (place[:, None] - place).abs() <= attn.window // 2
    mask[:, 0] = True
    mask = mask & seen[:, None]

    def gather(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask.unsqueeze(1), -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    frames = gather(*attn.qkv(x).chunk(3, dim=-1), mask)
    token = gather(attn.query_global(x[:, :1]), attn.key_global(x), attn.value_global(x), seen[:, None])
    return torch.cat([token, frames[:, 1:]], dim=1)


@pytest.mark.parametrize("num_frames", [1, 2, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("window", [2, 4, 18, 64])
@pytest.mark.parametrize("banded", [False, True], ids=["dense", "banded"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_equals_a_masked_full_attention(
    num_frames: int, window: int, banded: bool, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longformer, "_BLOCK", 16)
    monkeypatch.setattr(longformer, "_DENSE", 0 if banded else 999)
    attn = attention(window)
    x = torch.randn(2, 1 + num_frames, WIDTH, dtype=torch.float64)
    valid = torch.ones(2, 1 + num_frames, dtype=torch.bool)
    valid[1, 1 + (num_frames + 1) // 2 :] = False
    mask = valid if padded else None
    with torch.no_grad():
        reference = expected(attn, x, mask)
        torch.testing.assert_close(attn.class_token(x, mask), reference[:, :1])
        torch.testing.assert_close(attn.frames(x, 1, 1 + num_frames, mask), reference[:, 1:])


KINDS = {
    "window": lambda: attention(8),
    "full": lambda: FullAttention(WIDTH, HEADS),
    "uniform": lambda: UniformAttention(WIDTH),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_at_a_time_give_the_same_layer(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layer = PostNormLayer(KINDS[kind](), WIDTH, 40).double().eval()
    x = torch.randn(2, 97, WIDTH, dtype=torch.float64)
    valid = torch.rand(2, 97) > 0.3
    valid[:, 0] = True
    whole = layer(x, valid)
    for rows in (1, 7, 50, 96):
        monkeypatch.setattr(longformer, "ROWS", rows)
        torch.testing.assert_close(layer(x, valid), whole)
    torch.testing.assert_close(layer.class_token(x, valid), whole[:, 0])


def test_uniform_attention_is_full_attention_whose_scores_are_equal() -> None:
    full, uniform = FullAttention(WIDTH, HEADS).double(), UniformAttention(WIDTH).double()
    torch.nn.init.zeros_(full.qkv.weight[: 2 * WIDTH])
    torch.nn.init.zeros_(full.qkv.bias[: 2 * WIDTH])
    uniform.value.load_state_dict({"weight": full.qkv.weight[2 * WIDTH :], "bias": full.qkv.bias[2 * WIDTH :]})
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 5:] = False
    for mask in (None, valid):
        torch.testing.assert_close(uniform(x, 0, 1, mask), full(x, 0, 1, mask))
        torch.testing.assert_close(uniform(x, 2, 7, mask), full(x, 2, 7, mask))


def test_every_parameter_of_the_class_token_takes_part_in_the_gradient() -> None:
    """Also the key bias, whose gradient is zero: a missing one would stop distributed training."""
    attn = attention(4)
    attn.class_token(torch.randn(2, 9, WIDTH, dtype=torch.float64), None).square().sum().backward()
    for name in ("query_global", "key_global", "value_global"):
        module = attn.get_submodule(name)
        assert all(p.grad is not None for p in module.parameters()), name
    torch.testing.assert_close(attn.key_global.bias.grad, torch.zeros(WIDTH, dtype=torch.float64))


def test_attention_dropout_scales_the_value_bias_with_the_weights_that_remain() -> None:
    """With all value weights zero and bias one, the output is the sum of the dropped-out weights: 1 on average."""
    torch.manual_seed(0)
    attn = LongformerAttention(WIDTH, HEADS, 4, attn_drop=0.5).train()
    torch.nn.init.zeros_(attn.value_global.weight)
    torch.nn.init.ones_(attn.value_global.bias)
    sums = torch.cat([attn.class_token(torch.randn(8, 65, WIDTH), None) for _ in range(50)])
    assert sums.std() > 0.05
    assert abs(sums.mean().item() - 1) < 0.02


@pytest.mark.parametrize("window", [0, -2, 3])
def test_a_window_must_be_even_and_positive(window: int) -> None:
    with pytest.raises(ValueError, match="window must be positive and even"):
        attention(window)
