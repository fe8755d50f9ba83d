"""What a validation decides, and the checkpoints that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tubelet.errors import ConfigError
from tubelet.session.progress import Reporter
from tubelet.tasks.task import LOSS, Task
from tubelet.training.config import TrainingConfig
from tubelet.training.log.run_log import RunLog
from tubelet.training.state.resume import Progress
from tubelet.weights.checkpoint.checkpoint import remove_checkpoint

FOLDER = "checkpoints"
Measure = Callable[[nn.Module], Mapping[str, Any]]


class Keeper:
    """Validates and keeps ``best/``, ``last/`` and, where asked for, those of the latest validations in the run folder.

    Args:
        save: writes a checkpoint of the model as it stands to the folder it is given; none: of several processes this
            is not the one that writes.
        task: says which metric ``best_metric="auto"`` is, and whether a higher or a lower value is better.
        progress: where the best value so far stands; changed here.
    """

    def __init__(
        self,
        run: Path,
        save: Callable[[Path], None] | None,
        training: TrainingConfig,
        reporter: Reporter,
        progress: Progress,
        *,
        task: type[Task],
    ) -> None:
        self.run, self.save, self.training, self.reporter = run, save, training, reporter
        self.progress, self.task = progress, task

    def validate(self, model: nn.Module, epoch: int, measure: Measure, log: RunLog) -> None:
        """Measure, keep what is best, and write it down.

        Raises:
            ConfigError: the validation split does not have the metric that decides.
        """
        model.eval()
        metrics = measure(model)
        value = self._deciding(metrics)
        best, is_lower_better = self.progress.best, self.task.decisive(self.training.best_metric).is_lower_better
        better = best is None or (value < best if is_lower_better else value > best)
        if better:
            self.progress.best, self.progress.best_step = value, self.progress.step
        self.keep(better)
        row = {"step": self.progress.step, "epoch": epoch}
        log.validation(row | {name: metrics.get(name) for name in self.task.validation_header()})
        self.reporter.validated(self.progress.step, epoch, metrics, better)

    def keep(self, better: bool) -> None:
        """Write checkpoints before the state that says they were written: a kill in between writes them again."""
        if self.save is None:
            return
        if better:
            self.save(self.run / "best")
        self.save(self.run / "last")
        if self.training.keep_last_checkpoints:
            self.save(self.run / FOLDER / f"step-{self.progress.step:08d}")
            kept = sorted((self.run / FOLDER).glob("step-*"))
            for old in kept[: -self.training.keep_last_checkpoints]:
                remove_checkpoint(old)

    def is_over(self, steps_per_epoch: int) -> bool:
        """Whether the last validation was the end: the best is as many epochs back as early stopping waits."""
        waited = self.progress.closed_step - self.progress.best_step
        patience = self.training.early_stopping_epochs * steps_per_epoch
        return patience > 0 and self.progress.best is not None and waited >= patience

    def _deciding(self, metrics: Mapping[str, Any]) -> float:
        asked = self.training.best_metric
        value: float | None = metrics.get(self.task.best if asked == "auto" else asked)
        if value is None:
            usual = f"{self.task.best} or {LOSS.key}"
            raise ConfigError(f"training.best_metric={asked} is undefined on the validation split; use {usual}")
        return value
