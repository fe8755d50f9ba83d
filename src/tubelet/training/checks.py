"""What a training configuration asks for and this run cannot do; it is said before the first step."""

from __future__ import annotations

from tubelet.errors import ConfigError
from tubelet.training.config import Strategy, TrainingConfig


def check_wishes(training: TrainingConfig, *, has_validation: bool) -> None:
    """Raises ConfigError for what could not be done."""
    if training.early_stopping_epochs and not has_validation:
        raise ConfigError(
            "training.early_stopping_epochs waits for a better validation, and there is no validation split; set "
            "data.manifest.val_fraction, or leave it out"
        )
    if training.ema_decay is not None and training.strategy == "fsdp":
        raise ConfigError("training.ema_decay averages whole weights, and fsdp has shards; use training.strategy ddp")


def check_portions(num_clips: int, accumulation: int, num_processes: int) -> None:
    """Of several processes each must have as many portions as every other, for they meet in all of them."""
    fewest = num_clips // num_processes
    if num_processes > 1 and fewest < accumulation:
        raise ConfigError(
            f"a batch of {num_clips} clips over {num_processes} processes gives one of them {fewest}, fewer than the "
            f"{accumulation} portions of training.accumulation; raise training.batch_size, or start fewer processes"
        )


def check_launcher(strategy: Strategy, *, has_group: bool) -> None:
    """Shards need processes to lie on."""
    if strategy == "fsdp" and not has_group:
        raise ConfigError(
            "training.strategy=fsdp shards the model over processes, and this one is alone: start them with "
            "`torchrun --nproc-per-node N -m tubelet train ...`"
        )
