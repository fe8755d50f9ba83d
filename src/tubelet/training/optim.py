"""Optimizer and learning-rate schedule, from timm's factories.

The schedule is the official ViViT one (google-research/scenic, commit 4a38d475, ``train_lib/lr_schedules.py``):
linear warm-up from zero, then one cosine from the peak that starts after the warm-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from tubelet.errors import ConfigError

# Rows of these are learned embeddings, not maps: weight decay would pull them to zero.
_NO_WEIGHT_DECAY = ("pos_embed.table", "cls_token")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What changes the weights, and how fast."""

    name: Literal["adamw", "sgd"] = "adamw"  # sgd is with momentum and without Nesterov, as in the paper
    lr: float = 1e-3  # peak learning rate, after warm-up
    min_lr: float = 0.0  # learning rate at the end of the cosine
    warmup_epochs: float = 2.5  # linear rise from zero; fractions are whole steps, rounded down
    weight_decay: float = 0.0  # on matrices only: not on biases, norms, position tables and class tokens
    momentum: float = 0.9  # sgd: momentum; adamw: the first of its two betas
    second_momentum: float = 0.999  # adamw: the second of its two betas; sgd has none
    clip_grad_norm: float | None = 1.0  # global norm of the gradients; none: not clipped

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.min_lr < 0 or self.min_lr > self.lr:
            raise ConfigError(f"lr must be positive and min_lr from 0 to lr, got lr={self.lr}, min_lr={self.min_lr}")
        if self.warmup_epochs < 0 or self.weight_decay < 0:
            raise ConfigError("warmup_epochs and weight_decay must not be negative")
        if not (0 <= self.momentum < 1 and 0 <= self.second_momentum < 1):
            raise ConfigError(
                f"momentum and second_momentum must lie in [0, 1), got {self.momentum} and {self.second_momentum}"
            )
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ConfigError(f"clip_grad_norm must be positive or none, got {self.clip_grad_norm}")


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over the parameters that take gradients; weight decay on matrices only."""
    kept = [name for name, _ in model.named_parameters() if name.endswith(_NO_WEIGHT_DECAY)]
    groups = param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=kept)
    betas: dict[str, Any] = {"betas": (config.momentum, config.second_momentum)} if config.name == "adamw" else {}
    # timm's "sgd" is Nesterov's; its "momentum" is the plain one.
    kind = "momentum" if config.name == "sgd" else "adamw"
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=kind, lr=config.lr, weight_decay=0.0, momentum=config.momentum, **betas
    )
    return optimizer


def make_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, *, num_epochs: int, steps_per_epoch: int
) -> CosineLRScheduler:
    """The schedule in optimizer steps: ``schedule.step_update(step)`` sets the rate used *by* that step."""
    total = max(1, num_epochs * steps_per_epoch)
    warmup = min(int(config.warmup_epochs * steps_per_epoch), total - 1)
    return CosineLRScheduler(
        optimizer,
        t_initial=total - warmup,
        lr_min=config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=0.0,
        warmup_prefix=True,
        t_in_epochs=False,
    )
