"""The fields of a recipe under ``optim``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import added

WeightDecayOn = Literal["matrices", "all"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which optimizer changes the weights, and how fast."""

    name: Literal["adamw", "sgd"] = "adamw"  # sgd is with momentum, plain as in ViViT unless nesterov
    lr: float = 1e-3  # peak learning rate, after warm-up
    min_lr: float = 0.0  # learning rate at the end of the cosine
    warmup_epochs: float = 2.5  # linear rise from zero; fractions are whole steps, rounded down
    weight_decay: float = 0.0  # share of the rate by which weights shrink in every step
    weight_decay_on: WeightDecayOn = "matrices"  # not biases, norms, position tables, class tokens; all: but BatchNorm
    momentum: float = 0.9  # sgd: momentum; adamw: the first of its two betas
    second_momentum: float = 0.999  # adamw: the second of its two betas; sgd has none
    clip_grad_norm: float | None = 1.0  # largest global norm of the gradients; None means they are not clipped
    layer_decay: float = 1.0  # learning rate of a block over that of the next one up; 1: the same for all
    head_lr: float | None = None  # peak learning rate of the head; None means lr
    nesterov: bool = False  # sgd: Nesterov's momentum
    step_epochs: tuple[
        float, ...
    ] = ()  # epochs after which the rate falls to a share of itself; empty means one cosine
    step_factor: float = 0.1  # that share
    schedule_epochs: int | None = added(None)  # of warm-up and cosine, then min_lr; None means training.num_epochs

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.min_lr < 0 or self.min_lr > self.lr:
            raise ConfigError(f"lr must be positive and min_lr from 0 to lr, got lr={self.lr}, min_lr={self.min_lr}")
        if self.warmup_epochs < 0 or self.weight_decay < 0:
            raise ConfigError("warmup_epochs and weight_decay must not be negative")
        if not (0 <= self.momentum < 1 and 0 <= self.second_momentum < 1):
            raise ConfigError(
                f"momentum and second_momentum must lie in [0, 1), got {self.momentum} and {self.second_momentum}"
            )
        if not 0 < self.layer_decay <= 1 or (self.head_lr is not None and self.head_lr <= 0):
            raise ConfigError(
                f"layer_decay must lie in (0, 1] and head_lr be positive or none, got {self.layer_decay:g} and "
                f"{self.head_lr}"
            )
        if self.weight_decay_on != "matrices" and not self.weight_decay:
            raise ConfigError("weight_decay_on has no effect while weight_decay is 0; set it, or leave this out")
        if self.nesterov and self.name != "sgd":
            raise ConfigError(f"nesterov is for sgd; leave it out for {self.name}")
        self._check_steps()
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ConfigError(f"clip_grad_norm must be positive or none, got {self.clip_grad_norm}")

    def _check_steps(self) -> None:
        if list(self.step_epochs) != sorted(set(self.step_epochs)) or any(epoch <= 0 for epoch in self.step_epochs):
            raise ConfigError(f"step_epochs must be positive and ascending, got {self.step_epochs}")
        if not 0 < self.step_factor <= 1:
            raise ConfigError(f"step_factor must lie in (0, 1], got {self.step_factor:g}")
        if self.schedule_epochs is not None and (self.schedule_epochs < 1 or self.step_epochs):
            raise ConfigError(
                "schedule_epochs is the length of the cosine, at least 1, and does not go with step_epochs"
            )
        if self.step_epochs and (self.min_lr or self.step_epochs[0] < self.warmup_epochs):
            raise ConfigError("step_epochs come after the warm-up and know no min_lr, which is the cosine's")
