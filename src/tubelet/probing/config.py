"""What a probe tries, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
MIN_FOLDS = 3  # one to test, one to choose the head, one to train on
HeadKind = Literal["linear", "knn"]


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Heads, folds and limits of a probe."""

    heads: tuple[HeadKind, ...] = ("linear",)  # kinds of heads that are tried
    penalties: tuple[float, ...] = PENALTIES  # of linear heads: half of it times squared weights, beside summed loss
    neighbors: tuple[int, ...] = (1, 5, 20)  # of the k-NN heads
    folds: int = 5  # outer folds by group; each is the test part once
    seed: int = 0  # of folds, random weights and few-shot draws
    few_shot: tuple[int, ...] = ()  # training clips per class of the learning curve
    num_draws: int = 5  # of each point of the learning curve
    max_gb: float = 20.0  # size of the stored features that is not exceeded

    def __post_init__(self) -> None:
        if not self.heads:
            raise ConfigError("heads: name at least one of linear and knn")
        if self.folds < MIN_FOLDS:
            raise ConfigError(f"folds must be at least {MIN_FOLDS} (test, choice, training), got {self.folds}")
        if self.num_draws < 1 or self.max_gb <= 0 or any(penalty <= 0 for penalty in self.penalties):
            raise ConfigError("penalties, num_draws and max_gb must be positive")
        if any(number < 1 for number in (*self.few_shot, *self.neighbors)):
            raise ConfigError("few_shot and neighbors hold positive numbers")
