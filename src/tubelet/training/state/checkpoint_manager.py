"""What a validation decides, and the checkpoints that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tubelet.errors import ConfigError
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.log.run_log import VALIDATION_COLUMNS, RunLog
from tubelet.training.state.resume import TrainingState
from tubelet.weights.checkpoint.checkpoint import remove_checkpoint

FOLDER = "checkpoints"
Measure = Callable[[nn.Module], Mapping[str, Any]]


class Keeper:
    """Validates and keeps ``best/``, ``last/`` and, where asked for, those of the latest validations in the run folder.

    Args:
        save: writes a checkpoint of the model as it stands to the folder it is given. Only the main process calls it.
        multi_label: decides which metric ``best_metric="auto"`` is.
        progress: where the best value so far stands; changed here.
    """

    def __init__(
        self,
        run: Path,
        save: Callable[[Path], None],
        training: TrainingConfig,
        session: Session,
        progress: TrainingState,
        *,
        multi_label: bool,
    ) -> None:
        self.run, self.save, self.training, self.session = run, save, training, session
        self.progress, self.multi_label = progress, multi_label

    def validate(self, model: nn.Module, epoch: int, measure: Measure, log: RunLog) -> None:
        """Measure, keep what is best, and write it down.

        Raises:
            ConfigError: the validation split does not have the metric that decides.
        """
        model.eval()
        metrics = measure(model)
        value = self._deciding(metrics)
        better = self.progress.best is None or (
            value < self.progress.best if self.training.best_metric == "loss" else value > self.progress.best
        )
        if better:
            self.progress.best, self.progress.best_step = value, self.progress.step
        self.keep(better)
        row = {"step": self.progress.step, "epoch": epoch}
        log.validation(row | {name: metrics.get(name) for name in VALIDATION_COLUMNS if name not in row})
        self.session.progress.validated(self.progress.step, epoch, metrics, better)

    def keep(self, better: bool) -> None:
        """Write checkpoints before the state that says they were written: a kill in between writes them again."""
        if not self.session.processes.is_main:
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
        name, usual = self.training.best_metric, "mean_average_precision" if self.multi_label else "top1"
        value: float | None = metrics.get(usual if name == "auto" else name)
        if value is None:
            raise ConfigError(f"training.best_metric={name} is undefined on the validation split; use {usual} or loss")
        return value
