"""Which parameters train, and which of them share a learning rate and a weight decay.

Layer-wise decay follows BEiT (arXiv 2106.08254) and timm's ``param_groups_layer_decay``: the head has the full rate,
and every block further down a constant factor less. timm's own needs a map of layers on the model; here the order of
the blocks in the model is that map, for every model, and two encoders behind each other count on.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tubelet.errors import ConfigError, nearest
from tubelet.nn.head import head_prefixes, layer_of_parameters
from tubelet.nn.video_model import EMBEDDINGS
from tubelet.training.optim.config import WeightDecayOn


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that train alike."""

    part: str  # "all", "head", or the layers it holds, such as "layer 3 of 16"
    lr_scale: float  # their learning rate over that of the schedule
    weight_decay: float
    names: tuple[str, ...]
    num_parameters: int


def group_parameters(
    model: nn.Module,
    *,
    weight_decay: float,
    weight_decay_on: WeightDecayOn = "matrices",
    layer_decay: float = 1.0,
    head_scale: float = 1.0,
) -> list[ParameterGroup]:
    """The groups of the parameters that take gradients, from the first layer to the head.

    Args:
        weight_decay: of those that have any.
        weight_decay_on: "matrices": biases, norms, position tables and class tokens have none; "all": those of
            BatchNorm have none (as PySlowFast's).
        layer_decay: learning rate of a layer over that of the next one; layer 0 is all before the first block.
        head_scale: learning rate of the head over that of the schedule.

    Raises:
        ConfigError: the head is to have its own rate, and none is trained under that name.
    """
    layers, decayed = layer_of_parameters(model), _decayed(model, weight_decay_on)
    head = head_prefixes(model)
    last = 1 + max(layers.values(), default=0)
    found: dict[tuple[str, float], list[tuple[str, nn.Parameter]]] = {}
    scales: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = name.startswith(head)
        if in_head and (head_scale != 1.0 or layer_decay != 1.0):
            part, scale = "head", head_scale
        elif layer_decay != 1.0:
            part, scale = f"layer {layers[name]} of {last - 1}", layer_decay ** (last - layers[name])
        else:
            part, scale = ("all" if head_scale == 1.0 else "all but the head"), 1.0
        scales[part] = scale
        found.setdefault((part, weight_decay if name in decayed else 0.0), []).append((name, parameter))
    if head_scale != 1.0 and "head" not in scales:
        raise ConfigError(f"optim.head_lr: no head of {type(model).__name__} is trained; leave it out")
    return [
        ParameterGroup(
            part=part,
            lr_scale=scales[part],
            weight_decay=decay,
            names=tuple(name for name, _ in members),
            num_parameters=sum(parameter.numel() for _, parameter in members),
        )
        for (part, decay), members in found.items()
    ]


def _decayed(model: nn.Module, weight_decay_on: WeightDecayOn) -> set[str]:
    if weight_decay_on == "matrices":
        return {n for n, p in model.named_parameters() if p.ndim > 1 and not n.endswith(EMBEDDINGS)}
    batch_norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    exempt = {f"{name}.{kind}" for name in batch_norms for kind in ("weight", "bias")}
    return {name for name, _ in model.named_parameters()} - exempt


def optimizer_groups(model: nn.Module, groups: list[ParameterGroup]) -> list[dict[str, Any]]:
    """The groups as an optimizer takes them; timm's schedules multiply the rate by ``lr_scale``."""
    parameters = dict(model.named_parameters())
    return [
        {
            "params": [parameters[name] for name in group.names],
            "weight_decay": group.weight_decay,
            "lr_scale": group.lr_scale,
        }
        for group in groups
    ]


def freeze(model: nn.Module, patterns: Sequence[str]) -> tuple[nn.Module, ...]:
    """Stop the training of all parameters that a pattern matches, and of those below the modules that it matches.

    Args:
        patterns: names of modules or parameters as in ``named_modules``. ``*`` matches any text, dots too:
            ``tokenizer``, ``spatial_encoder.blocks.[0-5]``, ``*.cls_token``.

    Returns:
        The frozen modules. The training loop keeps them in eval mode, because dropout and statistics would change them.

    Raises:
        ConfigError: A pattern matches nothing (the message names the nearest), or nothing is left to train.
    """
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    frozen: list[nn.Module] = []
    for pattern in patterns:
        matched = [name for name in fnmatch.filter([*modules, *parameters], pattern) if name]
        if not matched:
            names = [name for name in (*modules, *parameters) if name and name.count(".") <= pattern.count(".")]
            raise ConfigError(
                f"freeze: nothing in {type(model).__name__} is called '{pattern}'{nearest(pattern, names)}"
            )
        for name in matched:
            if name in modules:
                frozen.append(modules[name].requires_grad_(False))
            else:
                parameters[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"freeze: {' '.join(patterns)} leaves no parameter of {type(model).__name__} to train")
    return tuple(frozen)
