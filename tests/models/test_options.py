"""Every option of every family computes and learns, in full precision and under bfloat16 autocast.

The options are those that the config dataclasses enumerate (literals and booleans, also of a config inside), so that a
new one is tried without a change here. One that a config refuses stands in ``REFUSED``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from torch import nn

from tubelet.errors import ConfigError
from tubelet.models import FAMILIES, create_model
from tubelet.models.family import Family

SMALL: dict[str, Any] = {"num_classes": 3, "num_frames": 4, "image_size": (16, 16), "depth": 2, "embed_dim": 24}
TINY: dict[str, dict[str, Any]] = {
    "vivit": {**SMALL, "tubelet_size": (2, 8, 8), "num_heads": 2, "drop_path_rate": 0.1},
    "timesformer": {**SMALL, "patch_size": 8, "num_heads": 2},
    "videomae": {**SMALL, "tubelet_size": (2, 8, 8), "num_heads": 2, "drop_path_rate": 0.1},
    "vjepa2": {**SMALL, "tubelet_size": (2, 8, 8), "num_heads": 2, "pooler_num_heads": 2, "pooler_depth": 2},
    "uniformerv2": {**SMALL, "patch_size": 8, "num_heads": 2, "global_layers": 2, "drop_path_rate": 0.0},
    "videoprism": {**SMALL, "patch_size": 8, "num_heads": 2, "temporal_depth": 1},
    "vtn": {
        **{k: v for k, v in SMALL.items() if k not in ("embed_dim", "depth")},
        "backbone": "vit_tiny_patch16_224",
        "backbone_fields": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
        **{"depth": 2, "hidden_dim": 16, "head_dim": 16, "attention_window": (2,), "attn_drop_rate": 0.0},
    },
}
# Its networks are torchvision's own, of one size each; all would take minutes, and the smallest has a test of its own.
NOT_OURS = {"torchvision"}
# Attention that is factorized over time and space has no place for a class token.
_NO_TOKEN = {("global_pool", "token"), ("global_pool", "first")}
# Without an encoder over time the fields of its layers, which the tiny VTN has, mean nothing.
_NO_ENCODER = {("encoder", "attentive"), ("encoder", "mean"), ("encoder", "mean_std")}
REFUSED = {
    "VTNConfig": _NO_ENCODER,
    "FactorizedSelfAttentionConfig": _NO_TOKEN,
    "TokenPoolConfig": _NO_TOKEN,
    "VideoMAEConfig": {("global_pool", "first")},  # needs final_norm="tokens"
}
# bfloat16 has 8 bits; logits of these models are of the order of 1.
TOLERANCE = 0.15


def choices(hint: Any) -> tuple[Any, ...]:
    """The values that a field may have, where its type enumerates them; a class where it holds a config."""
    if hint is bool:
        return (False, True)
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        of_parts = [choices(part) for part in typing.get_args(hint) if part is not type(None)]
        found = tuple(value for values in of_parts for value in values)
        return (None, *found) if found and type(None) in typing.get_args(hint) else found
    return ()


def options_of(config: type) -> Iterator[tuple[str, Any]]:
    """(Dotted field, value) of every value that is enumerated and no default."""
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    for name, hint in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(hint):
            yield from ((f"{name}.{inner}", value) for inner, value in options_of(typing.cast(type, hint)))
        yield from ((name, value) for value in choices(hint) if value != defaults[name])


def classes(family: Family) -> dict[tuple[type[nn.Module], type], str]:
    """One name for each pair of model and config class."""
    return {(model(), config): name for name, (model, config, _) in reversed(family.models.items())}


CASES = [
    pytest.param(family, model, config, option, value, id=f"{model.__name__}-{option}-{value}")
    for family in FAMILIES
    if family.name not in NOT_OURS
    for model, config in classes(family)
    for option, value in [("as it is", None), *options_of(config)]
]


def test_every_family_has_a_tiny_model_and_options_to_try() -> None:
    assert TINY.keys() | NOT_OURS == {family.name for family in FAMILIES}
    assert {case.values[0].name for case in CASES} == TINY.keys()
    assert {case.values[3] for case in CASES} >= {"fusion", "trunk.position", "encoder", "global_pool", "remainder"}


def test_a_network_of_torchvision_computes_and_learns_in_both_precisions() -> None:
    network = create_model("torchvision/mc3_18", num_classes=3, num_frames=4, image_size=(32, 32))
    clip = torch.randn(2, 3, 4, 32, 32)
    nn.init.normal_(next(p for name, p in network.named_parameters() if p.shape[:1] == (3,)), std=0.2)
    network.eval()
    with torch.no_grad():
        logits = network(clip), autocast_logits(network, clip)
    assert [x.shape for x in logits] == [(2, 3)] * 2
    assert float(logits[0].abs().max()) > TOLERANCE / 10
    torch.testing.assert_close(logits[1].float(), logits[0], atol=TOLERANCE, rtol=TOLERANCE)
    network.train()
    learned = {name for name, _ in network.named_parameters()}
    assert learning(network, network(clip)) == learning(network, autocast_logits(network, clip)) == learned


def made(family: Family, model: type[nn.Module], config: type, option: str, value: Any) -> Any:
    fields = TINY[family.name]
    outer, _, inner = option.partition(".")
    torch.manual_seed(0)
    if option == "as it is":
        return model(config(**fields))
    if inner:
        hint = typing.get_type_hints(config)[outer]
        value = hint(**{inner: value})
    return model(config(**{**fields, outer: value}))


def randomize(model: nn.Module) -> None:
    """Heads and last layers of blocks begin with zeros, behind which nothing would show."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)


def autocast_logits(model: nn.Module, clip: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits: torch.Tensor = model(clip)
    return logits


def learning(model: nn.Module, logits: torch.Tensor) -> set[str]:
    """The parameters that a step of training changes."""
    model.zero_grad(set_to_none=True)
    logits.float().square().sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "model", "config", "option", "value"), CASES)
def test_an_option_computes_and_learns_in_both_precisions(
    family: Family, model: type[nn.Module], config: type, option: str, value: Any
) -> None:
    if (option, value) in REFUSED.get(config.__name__, ()):
        with pytest.raises(ConfigError):
            made(family, model, config, option, value)
        return
    network = made(family, model, config, option, value)
    clip = torch.randn(2, network.config.in_channels, network.config.num_frames, *network.config.image_size)
    randomize(network)
    network.train()
    learned = learning(network, network(clip))
    assert len(learned) > 1
    assert learned == learning(network, autocast_logits(network, clip))
    assert learned <= {name for name, p in network.named_parameters() if p.requires_grad}
    network.eval()
    with torch.no_grad():
        logits = network(clip), autocast_logits(network, clip)
    assert [x.shape for x in logits] == [(2, 3)] * 2
    assert all(torch.isfinite(x).all() for x in logits)
    assert float(logits[0].abs().max()) > TOLERANCE / 10
    torch.testing.assert_close(logits[1].float(), logits[0], atol=TOLERANCE, rtol=TOLERANCE)
