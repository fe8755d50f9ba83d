"""The estimates agree with what a real training step computes and keeps."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from support import tiny_model
from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model
from tubelet.training.estimate import count_training_macs, estimate_memory
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer

CLIP = (3, 4, 16, 16)
CPU = torch.device("cpu")


def test_backward_costs_twice_forward_but_for_the_first_layer_s_input() -> None:
    with torch.device("meta"):
        model = create_model("vivit_ti16x2_joint", image_size=[64, 64])
    clip = (3, 32, 64, 64)
    forward, both = count_macs(model, clip), count_training_macs(model, clip)
    assert 2.9 * forward < both <= 3 * forward


def test_frozen_parts_cost_less() -> None:
    model, _ = tiny_model(depth=3)
    model.train()
    whole = count_training_macs(model, CLIP)
    model.get_submodule("spatial_encoder").requires_grad_(False)
    model.get_submodule("tokenizer").requires_grad_(False)
    assert count_training_macs(model, CLIP) < 0.6 * whole


def test_multiply_adds_are_those_of_a_real_step() -> None:
    model, _ = tiny_model()
    counter = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(torch.randn(1, *CLIP)).sum().backward()
    assert count_training_macs(model, CLIP) == counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_state_is_that_of_the_real_optimizer(name: str) -> None:
    model, _ = tiny_model()
    optim = OptimizerConfig(name=name)  # type: ignore[arg-type]
    optimizer = make_optimizer(model, optim)
    model(torch.randn(2, *CLIP)).sum().backward()
    optimizer.step()
    moments = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.numel() > 1
    ]
    estimate = estimate_memory(model, CLIP, batch_size=2, accumulation=1, precision="fp32", optim=optim, device=CPU)
    total = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert estimate.optimizer == pytest.approx(4 * sum(m.numel() for m in moments), rel=1e-3)
    assert (estimate.weights, estimate.gradients) == (total, total)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_those_that_a_real_pass_keeps(precision: str) -> None:
    model, _ = tiny_model(depth=2)
    model.train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    clips = torch.randn(6, *CLIP)
    own.add(clips.untyped_storage().data_ptr())
    kept: dict[int, torch.Tensor] = {}
    with (
        saved_tensors_hooks(lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        logits = model(clips)
    real = sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in own)
    assert logits.requires_grad
    estimate = estimate_memory(
        model,
        CLIP,
        batch_size=12,
        accumulation=2,
        precision=precision,  # type: ignore[arg-type]
        optim=OptimizerConfig(),
        device=CPU,
    )
    assert estimate.num_clips == 6
    assert estimate.activations == pytest.approx(real, rel=0.02)
    assert estimate.total == sum(dataclasses.asdict(estimate)[part] for part in (
        "weights", "gradients", "optimizer", "average", "activations", "clips"
    ))  # fmt: skip


def test_with_gradient_checkpointing_it_is_what_a_real_pass_keeps_and_the_inside_of_one_block() -> None:
    model, _ = tiny_model(depth=4)
    checkpointed = copy.deepcopy(model.train())
    checkpoint_blocks(checkpointed)
    tokens = torch.randn(6, 2, 5, 16, requires_grad=True)  # what enters a block of the spatial encoder
    block = model.get_submodule("spatial_encoder.blocks.1")
    real = bytes_kept(checkpointed, torch.randn(6, *CLIP)) + bytes_kept(block, tokens)
    fields = {"batch_size": 6, "accumulation": 1, "precision": "fp32", "optim": OptimizerConfig(), "device": CPU}
    estimate = estimate_memory(model, CLIP, **fields, gradient_checkpointing=True)  # type: ignore[arg-type]
    assert estimate.activations == pytest.approx(real, rel=0.02)
    assert estimate.activations < 0.6 * estimate_memory(model, CLIP, **fields).activations  # type: ignore[arg-type]


def test_processes_share_the_clips_and_shards_the_weights() -> None:
    model, _ = tiny_model()
    fields = {"batch_size": 14, "accumulation": 2, "precision": "fp32", "optim": OptimizerConfig(), "device": CPU}
    alone = estimate_memory(model, CLIP, **fields, has_average=True)  # type: ignore[arg-type]
    assert (alone.num_clips, alone.average) == (7, alone.weights)
    whole = estimate_memory(model, CLIP, **fields, num_processes=3)  # type: ignore[arg-type]
    assert (whole.num_clips, whole.average) == (3, 0)  # 5 of 14, in two parts
    assert (whole.weights, whole.gradients, whole.optimizer) == (alone.weights, alone.gradients, alone.optimizer)
    shards = estimate_memory(model, CLIP, **fields, num_processes=3, is_sharded=True)  # type: ignore[arg-type]
    assert (shards.num_clips, shards.activations) == (3, whole.activations)
    for part in ("weights", "gradients", "optimizer"):
        assert 3 * getattr(shards, part) == pytest.approx(getattr(whole, part), abs=3)


def bytes_kept(module: torch.nn.Module, x: torch.Tensor) -> int:
    """That autograd keeps of a real forward pass, beside the parameters and the input."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), x)}
    kept: dict[int, torch.Tensor] = {}
    with saved_tensors_hooks(lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t), lambda t: t):
        result = module(x)
    assert result.requires_grad
    return sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in own)
