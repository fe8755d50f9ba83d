"""Learning rates fall from the head down, block by block, through all encoders of a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from support import tiny_model
from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.nn.head import layer_of_parameters
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.groups import group_parameters
from tubelet.training.optim.optimizer import make_optimizer, parameter_groups
from tubelet.training.optim.schedule import make_schedule


def test_layers_count_through_both_encoders_in_the_order_of_the_flow() -> None:
    model, _ = tiny_model(depth=2, temporal_depth=1)
    layers = layer_of_parameters(model)
    expected = {
        "tokenizer.proj.weight": 0,
        "spatial_encoder.cls_token": 0,
        "spatial_encoder.pos_embed.table": 0,
        "spatial_encoder.blocks.0.attn.qkv.weight": 1,
        "spatial_encoder.blocks.1.mlp.fc2.bias": 2,
        "spatial_encoder.norm.weight": 2,
        "temporal_encoder.pos_embed.table": 2,
        "temporal_encoder.blocks.0.norm1.weight": 3,
        "temporal_encoder.norm.bias": 3,
        "head.weight": 3,
    }
    assert {name: layers[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "fields", "num_blocks"),
    [
        ("vivit_ti16x2_fsa", {}, 12),
        ("videomae_s16", {}, 12),
        ("vjepa2_l16_256", {}, 27),
        ("vtn_deit_ti16", {}, 15),
        ("vtn_r50", {}, 19),
        ("uniformerv2_ti16", {"image_size": [64, 64]}, 12),
    ],
)
def test_the_blocks_of_every_kind_of_model_are_found(name: str, fields: dict[str, object], num_blocks: int) -> None:
    with torch.device("meta"):
        model = create_model(name, **fields)
    assert max(layer_of_parameters(model).values()) >= num_blocks


# The number of blocks of torchvision's networks, and the names of the parameters that the classes decide.
TORCHVISION = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), (8, "network.fc")),
    "s3d": (12, "network.classifier.1"),
    **dict.fromkeys(("mvit_v1_b", "mvit_v2_s"), (16, "network.head.1")),
    "swin3d_t": (15, "network.head"),  # blocks of four stages, and what merges patches between them
    **dict.fromkeys(("swin3d_s", "swin3d_b"), (27, "network.head")),
}


@pytest.mark.parametrize("network", TORCHVISION)
def test_torchvision_s_networks_have_a_head_and_layers_under_their_own_names(network: str) -> None:
    num_blocks, head = TORCHVISION[network]
    with torch.device("meta"):
        model = create_model(f"torchvision/{network}", num_classes=7)
    assert max(layer_of_parameters(model).values()) == num_blocks
    groups = group_parameters(model, weight_decay=0.1, layer_decay=0.5, head_scale=10.0)
    names = {name for group in groups if group.part == "head" for name in group.names}
    assert names == {f"{head}.weight", f"{head}.bias"}
    assert {group.lr_scale for group in groups if group.part == "head"} == {10.0}
    assert min(group.lr_scale for group in groups) <= 0.5**num_blocks


def test_every_trained_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    model, _ = tiny_model(depth=2)
    model.get_submodule("tokenizer").requires_grad_(False)
    groups = group_parameters(model, weight_decay=0.1, layer_decay=0.5, head_scale=10.0)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    of = {name: group for group in groups for name in group.names}
    assert of["head.weight"].lr_scale == 10.0
    assert of["temporal_encoder.blocks.0.attn.qkv.weight"].lr_scale == 0.5
    assert of["spatial_encoder.blocks.0.attn.qkv.weight"].lr_scale == 0.125
    assert of["spatial_encoder.cls_token"].lr_scale == 0.0625
    assert (of["head.weight"].weight_decay, of["head.bias"].weight_decay) == (0.1, 0.0)
    assert of["spatial_encoder.cls_token"].part == "layer 0 of 3"
    assert sum(g.num_parameters for g in groups) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_rates_of_groups_are_shares_of_the_schedule_at_every_step() -> None:
    model, _ = tiny_model()
    config = OptimizerConfig(lr=0.1, head_lr=0.4, layer_decay=0.5, warmup_epochs=1.0)
    optimizer = make_optimizer(model, config)
    schedule = make_schedule(optimizer, config, num_epochs=3, steps_per_epoch=4)
    scales = [group.lr_scale for group in parameter_groups(model, config)]
    assert max(scales) == 4.0
    for step, base in ((0, 0.0), (2, 0.05), (4, 0.1)):
        schedule.step_update(step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([base * scale for scale in scales])


def test_without_options_all_train_alike() -> None:
    model, _ = tiny_model()
    groups = parameter_groups(model, OptimizerConfig(weight_decay=0.1))
    assert {(group.part, group.lr_scale) for group in groups} == {("all", 1.0)}
    assert [group.weight_decay for group in groups] in ([0.1, 0.0], [0.0, 0.1])


def test_a_rate_for_a_head_that_is_not_trained_is_an_error() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"optim\.head_lr: no head of Linear is trained"):
        parameter_groups(model, OptimizerConfig(head_lr=0.1))


@pytest.mark.parametrize("fields", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"head_lr": 0.0}])
def test_values_that_mean_nothing_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="layer_decay must lie in"):
        OptimizerConfig(**fields)


def test_decay_on_all_spares_batch_norm_and_nothing_else() -> None:
    with torch.device("meta"):
        model = create_model("vtn_r50")
    config = OptimizerConfig(name="sgd", weight_decay=1e-4, weight_decay_on="all")
    free = {name for group in parameter_groups(model, config) if not group.weight_decay for name in group.names}
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert free == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    assert len(norms) == 53
    plain, _ = tiny_model()
    (group,) = parameter_groups(plain, config)  # LayerNorms, biases, tables and class tokens too
    assert group.num_parameters == sum(parameter.numel() for parameter in plain.parameters())


def test_decay_on_all_without_decay_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight_decay_on has no effect while weight_decay is 0"):
        OptimizerConfig(weight_decay_on="all")
