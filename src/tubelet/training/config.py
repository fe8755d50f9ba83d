"""Fields of a recipe under ``training``: how long to train, in what portions, what to measure and what to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.data.loading.config import Sampling
from tubelet.errors import ConfigError, nearest
from tubelet.types import ClassWeights, Precision, added

Strategy = Literal["ddp", "fsdp"]
Schedule = Literal["continue", "recompute"]  # of the learning rate, where a run goes on for more epochs


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, in what portions, and what to keep."""

    num_epochs: int = 30  # passes over the training split
    batch_size: int = 32  # videos per optimizer step, of all processes together
    accumulation: int = 1  # portions of a batch that are computed in turn; the gradient is that of the whole batch
    strategy: Strategy = "ddp"  # of several processes: each holds the model (ddp), or a shard of it (fsdp)
    precision: Precision = "fp32"  # of training, validation and test; bf16: autocast on CPU and GPU, weights stay fp32
    gradient_checkpointing: bool = False  # the backward pass computes blocks again: less memory, a third more work
    compile: bool = False  # torch.compile of the step: minutes at the start, then faster; a CPU needs a C++ compiler
    label_smoothing: float = 0.0  # share of the target spread evenly over the classes
    validate_every_epochs: int = 1  # the last epoch is always validated
    class_weights: ClassWeights = "none"  # balanced: a video counts the more in the loss the rarer its class is
    sampling: Sampling = "natural"  # balanced: an epoch draws rows so that every class comes equally often
    best_metric: str = "auto"  # of validation, decides what best/ holds; auto: top1 (of actions), or mAP
    best_of_equals: Literal["lowest_loss", "first"] = added("lowest_loss", earlier="first")  # where best_metric ties
    checkpoint_every_steps: int = 200  # optimizer steps between states to resume from, beside one per epoch
    early_stopping_epochs: int = 0  # end when best_metric has not improved for so many epochs; 0: never
    keep_last_checkpoints: int = 0  # of the latest validations, in checkpoints/step-N, beside best/ and last/
    ema_decay: float | None = None  # of an average of the weights that is validated, kept and tested; not with fsdp

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "accumulation", "validate_every_epochs", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.best_metric != "auto":
            _check_metric(self.best_metric)
        if self.accumulation > self.batch_size:
            raise ConfigError(f"accumulation {self.accumulation} cuts a batch of {self.batch_size} into nothing")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing:g}")
        for name in ("early_stopping_epochs", "keep_last_checkpoints"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"ema_decay must lie between 0 and 1, or be none, got {self.ema_decay:g}")
        if (self.class_weights, self.sampling) == ("balanced", "balanced"):
            raise ConfigError("class_weights and sampling both balance the classes; choose one of them")


def _check_metric(name: str) -> None:
    from tubelet.tasks.choose import ranked_metrics  # tasks import torch; only what names a metric waits for it

    known = ["auto", *ranked_metrics()]
    if name not in known:
        raise ConfigError(f"best_metric must be one of {', '.join(known)}, got {name}{nearest(name, known)}")


def check_training(training: TrainingConfig, *, has_validation: bool) -> None:
    """Raise ConfigError, before the first step, for what this run cannot do."""
    if training.early_stopping_epochs and not has_validation:
        raise ConfigError(
            "training.early_stopping_epochs waits for a better validation, and there is no validation split; set "
            "data.manifest.val_fraction, or leave it out"
        )
    if training.ema_decay is not None and training.strategy == "fsdp":
        raise ConfigError("training.ema_decay averages whole weights, and fsdp has shards; use training.strategy ddp")
