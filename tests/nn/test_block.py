"""Stochastic depth and initial values of the blocks; their arithmetic is held by parity and by the dense reference."""

from __future__ import annotations

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor

from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.nn.block import (
    Activation,
    Block,
    FactorizedDotProductBlock,
    FactorizedSelfAttentionBlock,
    drop_path_schedule,
)

KINDS = [Block, FactorizedSelfAttentionBlock, FactorizedDotProductBlock]


def test_drop_rates_grow_linearly_from_zero_to_the_rate() -> None:
    assert drop_path_schedule(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_schedule(0.3, 1) == [0.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rescaled", [True, False])
def test_a_branch_is_dropped_for_whole_examples_and_survivors_are_rescaled_or_left(
    kind: type[torch.nn.Module], rescaled: bool
) -> None:
    block = kind(8, 2, drop_path=0.5, drop_path_rescaled=rescaled)
    x = torch.randn(64, 3, 4, 8)  # B T S D
    seen: list[tuple[Tensor, Tensor]] = []
    for name, module in block.named_children():
        if name.startswith("drop_path"):
            module.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    block(x)
    assert len(seen) == (3 if kind is FactorizedSelfAttentionBlock else 2)  # every branch
    kept_sets = []
    for branch, dropped in seen:
        kept = dropped.flatten(1).any(1)
        assert 0 < kept.sum() < 64  # some examples keep the branch, others lose it
        survivors = branch[kept] / (0.5 if rescaled else 1)
        torch.testing.assert_close(dropped[kept], survivors)  # for all time indices and places at once
        assert not dropped[~kept].any()
        kept_sets.append(kept)
    assert not torch.equal(kept_sets[0], kept_sets[1])  # branches decide for themselves


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_at_test_time(kind: type[torch.nn.Module]) -> None:
    block = kind(8, 2, drop_path=0.9, drop_rate=0.9, attn_drop_rate=0.9).eval()
    plain = kind(8, 2).eval()
    plain.load_state_dict(block.state_dict())
    x = torch.randn(4, 3, 4, 8)
    assert torch.equal(block(x), plain(x))


def test_the_order_of_the_two_attentions_matters_and_keeps_the_parameters() -> None:
    first = FactorizedSelfAttentionBlock(8, 2, order="space_time").eval()
    second = FactorizedSelfAttentionBlock(8, 2, order="time_space").eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 3, 4, 8)
    assert not torch.allclose(first(x), second(x), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_mlp_starts_xavier_uniform_with_almost_no_bias_and_norms_at_identity(kind: type[torch.nn.Module]) -> None:
    block = kind(96, 4)
    limit = (6 / (96 + 4 * 96)) ** 0.5
    for name, parameter in block.named_parameters():
        if name in ("mlp.fc1.weight", "mlp.fc2.weight"):
            assert 0.99 * limit < parameter.abs().max().item() <= limit
        elif name in ("mlp.fc1.bias", "mlp.fc2.bias"):
            assert 0 < parameter.abs().max().item() < 1e-5
        elif "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all()


@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu"])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_activation_is_the_tanh_approximation_or_the_exact_function(
    activation: Activation, needs_gradient: bool
) -> None:
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
    expected = 0.5 * x * (1 + (torch.tanh(inner) if activation == "gelu_tanh" else torch.erf(x / 2**0.5)))
    with torch.set_grad_enabled(needs_gradient):
        torch.testing.assert_close(Block(8, 2, activation=activation).mlp.act(x.clone()), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_leaves_its_input_as_it_was_and_gives_the_same_with_and_without_gradients(
    kind: type[torch.nn.Module],
) -> None:
    block = kind(8, 2).eval()
    x = torch.randn(2, 3, 4, 8)
    before = x.clone()
    with torch.inference_mode():
        without = block(x)
    assert torch.equal(x, before)
    assert torch.equal(block(x), without)


@pytest.mark.parametrize("name", ["joint", "fe", "fsa", "fdp", "avgpool"])
def test_every_vivit_can_leave_survivors_as_they_are(name: str) -> None:
    fields = {"tubelet_size": [2, 8, 8], "num_frames": 4, "image_size": [16, 16], "embed_dim": 16, "num_heads": 2}
    model = create_model(f"vivit_ti16x2_{name}", drop_path_rate=0.5, drop_path_rescaled=False, **fields)
    drops = [module for module in model.modules() if isinstance(module, DropPath)]
    assert drops
    assert not any(module.scale_by_keep for module in drops)
    with pytest.raises(ConfigError, match="no effect while drop_path_rate is 0"):
        create_model(f"vivit_ti16x2_{name}", drop_path_rescaled=False)
