"""What a probe tries, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError

HeadKind = Literal["linear", "knn"]


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Heads, folds and limits of a probe."""

    heads: tuple[HeadKind, ...] = ("linear", "knn")  # kinds of heads that are tried
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)  # of linear heads
    weight_decays: tuple[float, ...] = (1e-4, 1e-2, 0.1, 1.0, 10.0)  # of linear heads, as AdamW has them
    num_steps: int = 300  # optimizer steps of a linear head, each over all training clips
    neighbors: tuple[int, ...] = (1, 5, 20)  # of the k-NN heads
    folds: int = 5  # outer folds by group; each is the test part once
    seed: int = 0  # of folds, random weights and few-shot draws
    few_shot: tuple[int, ...] = ()  # training clips per class of the learning curve
    num_draws: int = 5  # of each point of the learning curve
    max_gb: float = 20.0  # size of the stored features that is not exceeded

    def __post_init__(self) -> None:
        if not self.heads:
            raise ConfigError("heads: name at least one of linear and knn")
        if self.folds < 3:
            raise ConfigError(f"folds must be at least 3 (test, choice, training), got {self.folds}")
        if self.num_steps < 1 or self.num_draws < 1 or self.max_gb <= 0:
            raise ConfigError("num_steps, num_draws and max_gb must be positive")
        if any(number < 1 for number in (*self.few_shot, *self.neighbors)):
            raise ConfigError("few_shot and neighbors hold positive numbers")
