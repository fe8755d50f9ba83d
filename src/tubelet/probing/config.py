"""What a probe tries, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
MIN_FOLDS = 3  # one to test, one to choose the head, one to train on
HeadKind = Literal["linear", "knn", "attentive", "temporal"]
READING: tuple[HeadKind, ...] = ("attentive", "temporal")  # of them those that read more than one vector of a clip
MAX_DEPTH = 4  # layers


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Heads, folds and limits of a probe."""

    heads: tuple[HeadKind, ...] = ("linear",)  # kinds of heads that are tried
    penalties: tuple[float, ...] = PENALTIES  # of linear heads: half of it times squared weights, beside summed loss
    neighbors: tuple[int, ...] = (1, 5, 20)  # of the k-NN heads
    depths: tuple[int, ...] = (1,)  # layers of the attentive and temporal heads, 1 to 4
    rates: tuple[float, ...] = (1e-3, 3e-4)  # peak learning rates of these heads
    weight_decays: tuple[float, ...] = (0.01, 0.3)  # of AdamW, for these heads; each with each rate
    epochs: int = 20  # passes over the training clips, for these heads
    folds: int = 5  # outer folds by group; each is the test part once
    seed: int = 0  # of folds, random weights and few-shot draws
    few_shot: tuple[int, ...] = ()  # training clips per class of the learning curve
    num_draws: int = 5  # of each point of the learning curve
    max_gb: float = 20.0  # size of the stored features of one encoder that is not exceeded

    def __post_init__(self) -> None:
        if not self.heads:
            raise ConfigError("heads: name at least one of linear, knn, attentive and temporal")
        if self.folds < MIN_FOLDS:
            raise ConfigError(f"folds must be at least {MIN_FOLDS} (test, choice, training), got {self.folds}")
        if self.num_draws < 1 or self.max_gb <= 0 or any(penalty <= 0 for penalty in self.penalties):
            raise ConfigError("penalties, num_draws and max_gb must be positive")
        if not self.depths or any(not 1 <= depth <= MAX_DEPTH for depth in self.depths):
            raise ConfigError(f"depths hold numbers of layers from 1 to {MAX_DEPTH}, got {self.depths}")
        if self.epochs < 1 or not self.rates or not self.weight_decays or min(self.rates) <= 0:
            raise ConfigError("epochs and rates must be positive, and rates and weight_decays hold a number each")
        if min(self.weight_decays) < 0:
            raise ConfigError("weight_decays must not be negative")
        if any(number < 1 for number in (*self.few_shot, *self.neighbors)):
            raise ConfigError("few_shot and neighbors hold positive numbers")

    @property
    def reads_tokens(self) -> bool:
        """Whether a head is asked for that reads more than one vector of a clip."""
        return any(kind in READING for kind in self.heads)
