"""The optimizer, from timm's factory."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.groups import ParameterGroup, group_parameters, optimizer_groups


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make AdamW or SGD over the parameters that take gradients, in the groups of ``parameter_groups``.

    Raises:
        ConfigError: The head has a rate and is not trained.
    """
    groups = optimizer_groups(model, parameter_groups(model, config))
    betas: dict[str, Any] = {"betas": (config.momentum, config.second_momentum)} if config.name == "adamw" else {}
    # timm's "sgd" is Nesterov's; its "momentum" is the plain one.
    kind = ("sgd" if config.nesterov else "momentum") if config.name == "sgd" else "adamw"
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=kind, lr=config.lr, weight_decay=0.0, momentum=config.momentum, **betas
    )
    return optimizer


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[ParameterGroup]:
    """Return which parameters train at which share of the learning rate and with which weight decay."""
    head_scale = 1.0 if config.head_lr is None else config.head_lr / config.lr
    return group_parameters(
        model,
        weight_decay=config.weight_decay,
        weight_decay_on=config.weight_decay_on,
        layer_decay=config.layer_decay,
        head_scale=head_scale,
    )
