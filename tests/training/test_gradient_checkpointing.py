"""Computed again, blocks give the same bits and keep less, in every family; nothing around the model notices."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from support import tiny_model
from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.training.gradient_checkpointing import checkpoint_blocks, find_blocks

SMALL: dict[str, Any] = {"num_frames": 4, "image_size": [32, 32], "num_classes": 3}
VIT: dict[str, Any] = {**SMALL, "embed_dim": 32, "depth": 3, "num_heads": 2}
VIVIT: dict[str, Any] = {**VIT, "tubelet_size": [2, 8, 8], "drop_rate": 0.1, "attn_drop_rate": 0.1}
VIVIT |= {"drop_path_rate": 0.3, "patch_drop_rate": 0.25}
TIMESFORMER: dict[str, Any] = {**VIT, "patch_size": 8, "drop_path_rate": 0.3}
UNIFORMER: dict[str, Any] = {**VIT, "patch_size": 8, "global_layers": 2, "drop_path_rate": 0.3}
VTN: dict[str, Any] = {**SMALL, "depth": 2, "num_heads": 2, "hidden_dim": 64, "head_dim": 16}
VIT_FIELDS = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "model 1": ("vivit_ti16x2_joint", VIVIT),
    "model 2": ("vivit_ti16x2_fe", {**VIVIT, "temporal_depth": 2}),
    "model 3": ("vivit_ti16x2_fsa", VIVIT),
    "model 4": ("vivit_ti16x2_fdp", VIVIT),
    "divided": ("timesformer_ti16_divided", TIMESFORMER),
    "global blocks": ("uniformerv2_ti16", UNIFORMER),
    "local blocks": ("uniformerv2_ti16_ssv2", UNIFORMER),
    "VTN of a ViT": ("vtn_deit_ti16", {**VTN, "backbone_fields": VIT_FIELDS}),
    "VTN of a ResNet": ("vtn_r50", {**VTN, "backbone": "resnet10t"}),
}


def step(model: nn.Module, clip: Tensor) -> tuple[dict[str, Tensor], int]:
    """Gradients and buffers after one step with seeded draws, and the bytes that autograd kept."""
    kept: dict[int, Tensor] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    torch.manual_seed(3)

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(clip)
    logits.square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    return found, sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in own)


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_running_statistics_are_the_same_bits_from_less_memory(case: str) -> None:
    name, fields = CASES[case]
    torch.manual_seed(0)
    model = create_model(name, **fields).train()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)  # heads and gates that start at zero would hide every gradient
    again = copy.deepcopy(model)
    checkpoint_blocks(again)
    clip = torch.randn(2, 3, 4, *fields["image_size"])
    expected, kept = step(model, clip)
    found, kept_again = step(again, clip)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
    assert kept_again < 0.75 * kept


def test_names_stay_and_a_second_call_changes_nothing() -> None:
    model, _ = tiny_model()
    names = list(model.state_dict())
    modules = [name for name, _ in model.named_modules()]
    checkpoint_blocks(model)
    forwards = [block.forward for block in find_blocks(model).values()]
    checkpoint_blocks(model)
    assert [block.forward for block in find_blocks(model).values()] == forwards
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_modules()] == modules


def test_a_copy_computes_with_its_own_weights() -> None:
    model, _ = tiny_model()
    checkpoint_blocks(model)
    clip = torch.randn(1, 3, 4, 16, 16)
    other = copy.deepcopy(model)
    before = model(clip)
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.01)
    assert torch.equal(model(clip), before)
    plain = copy.deepcopy(tiny_model()[0])
    plain.load_state_dict(other.state_dict())
    assert torch.equal(other(clip), plain(clip))


def test_blocks_are_the_layers_that_rates_know_and_never_lie_in_each_other() -> None:
    with torch.device("meta"):
        swin = create_model("torchvision/swin3d_t")
        model = create_model("uniformerv2_ti16")
    names = list(find_blocks(swin))
    assert "network.features.0.1" in names  # the second block of the first stage
    assert "network.features.0" not in names
    assert sum(name.startswith("trunk.blocks.") for name in find_blocks(model)) == 12


def test_a_model_without_blocks_refuses() -> None:
    with pytest.raises(ConfigError, match="Linear has no blocks"):
        checkpoint_blocks(nn.Linear(2, 2))


def test_a_run_with_it_ends_with_the_weights_of_one_without(tmp_path: Path, recipe_file: Path) -> None:
    ends = []
    for value in ("false", "true"):
        fields = [("training.num_epochs", "1"), ("training.gradient_checkpointing", value)]
        recipe = load_recipe(str(recipe_file), fields)
        run_recipe(recipe, tmp_path / value, Session())
        ends.append(load_file(tmp_path / value / "last" / "model.safetensors"))
    without, with_it = ends
    assert with_it.keys() == without.keys()
    for name, tensor in without.items():
        assert torch.equal(with_it[name], tensor), name
