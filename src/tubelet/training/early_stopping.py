"""What a validation decides: whether it is the best so far, and whether training ends early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tubelet.errors import ConfigError
from tubelet.tasks.task import LOSS, Task
from tubelet.training.config import TrainingConfig
from tubelet.training.state.resume import TrainingState


class EarlyStopping:
    """Remembers the best validation, and stops when none has been better for ``training.early_stopping_epochs``.

    Args:
        task: says which metric ``best_metric="auto"`` is, and whether a higher or a lower value is better.
        state: holds the best value so far. It is changed here, because a resumed run must stop where the uninterrupted
            one does.
    """

    def __init__(self, training: TrainingConfig, task: type[Task], state: TrainingState, steps_per_epoch: int) -> None:
        self.training, self.task, self.state, self.steps_per_epoch = training, task, state, steps_per_epoch

    def is_best(self, metrics: Mapping[str, Any]) -> bool:
        """Take in a validation after the current step, and return whether it is the best so far.

        Of equal values the one with the lower loss is better (``training.best_of_equals``): where a few validation
        clips are all right from an early epoch on, later weights are surer of the same answers. Of equal losses the
        first stays.

        Raises:
            ConfigError: The validation split does not have the metric that decides.
        """
        value, best = self._deciding(metrics), self.state.best
        loss, best_loss = metrics.get(LOSS.key), self.state.best_loss
        is_lower_better = self.task.decisive(self.training.best_metric).is_lower_better
        is_best = best is None or (value < best if is_lower_better else value > best)
        if value == best and self.training.best_of_equals == "lowest_loss":
            is_best = loss is not None and best_loss is not None and loss < best_loss
        if is_best:
            self.state.best, self.state.best_loss, self.state.best_step = value, loss, self.state.step
        return is_best

    def is_over(self) -> bool:
        """Return whether the last validation was the end: the best is as many epochs back as training waits."""
        waited = self.state.closed_step - self.state.best_step
        patience = self.training.early_stopping_epochs * self.steps_per_epoch
        return patience > 0 and self.state.best is not None and waited >= patience

    def _deciding(self, metrics: Mapping[str, Any]) -> float:
        asked = self.training.best_metric
        value: float | None = metrics.get(self.task.best if asked == "auto" else asked)
        if value is None:
            usual = f"{self.task.best} or {LOSS.key}"
            raise ConfigError(f"training.best_metric={asked} is undefined on the validation split; use {usual}")
        return value
