"""The training loop: exact, resumable at any step, and ignorant of which model it trains.

Everything random in step s is drawn from generators seeded by (seed, s); batches come from the loader by
(seed, epoch, index). A run resumed from step s therefore does what the uninterrupted run does after step s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.data.budget import FAILURE_BUDGET, UNREADABLE, FailureBudget
from tubelet.data.loader import Loader
from tubelet.data.mixing import MixConfig
from tubelet.errors import TubeletError
from tubelet.training.config import TrainingConfig
from tubelet.training.keep import Keeper
from tubelet.training.log import RunLog
from tubelet.training.objective import make_objective
from tubelet.training.optim import OptimizerConfig, make_optimizer, make_schedule
from tubelet.training.reporter import Reporter
from tubelet.training.resume import Progress, load_state, save_state
from tubelet.training.step import Stepper
from tubelet.types import Batch


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the loop works on; every part is made by the caller, who knows models and recipes.

    ``prepare`` turns uint8 pixels on the device into the model's input. ``validate`` returns the metrics by name;
    it is None where there is no validation split, and the last weights are then the best. ``save`` writes a
    checkpoint of the model as it stands to the folder it is given. ``failure_budget`` is the share of the training
    videos that may be unreadable (``tubelet.data.budget``). ``frozen`` are modules that stay in eval mode.
    """

    model: nn.Module
    loader: Loader
    prepare: Callable[[Tensor], Tensor]
    validate: Callable[[nn.Module], Mapping[str, Any]] | None
    save: Callable[[Path], None]
    mix: MixConfig = field(default_factory=MixConfig)
    failure_budget: float = FAILURE_BUDGET
    frozen: tuple[nn.Module, ...] = ()


def fit(
    task: Task,
    run: Path,
    training: TrainingConfig,
    optim: OptimizerConfig,
    *,
    seed: int,
    device: torch.device,
    reporter: Reporter,
) -> Progress:
    """Train until ``num_epochs``, from the state in ``run`` if there is one.

    Raises:
        TubeletError: the loss is not finite; the weights of the last checkpoint are untouched.
        DataError: more videos than the failure budget could not be read.
    """
    engine = _Engine(task, run, training, optim, seed, device, reporter)
    with RunLog(run, engine.progress.step) as engine.log:
        engine.run_epochs()
    return engine.progress


class _Engine:
    log: RunLog

    def __init__(
        self,
        task: Task,
        run: Path,
        training: TrainingConfig,
        optim: OptimizerConfig,
        seed: int,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self.task, self.run, self.training, self.optim = task, run, training, optim
        self.seed, self.device, self.reporter = seed, device, reporter
        self.model = task.model.to(device)
        self.optimizer = make_optimizer(self.model, optim)
        self.steps_per_epoch = task.loader.steps_per_epoch
        self.num_steps = training.num_epochs * self.steps_per_epoch
        self.schedule = make_schedule(
            self.optimizer, optim, num_epochs=training.num_epochs, steps_per_epoch=self.steps_per_epoch
        )
        self.progress = load_state(run, self.model, self.optimizer)
        self.budget = FailureBudget(
            task.loader.dataset.manifest,
            task.failure_budget,
            "training videos",
            file=run / UNREADABLE,
            failed=self.progress.failed,
        )
        objective = make_objective(task.loader.dataset.manifest, training.label_smoothing, training.class_weights)
        self.stepper = Stepper(
            self.model,
            self.optimizer,
            objective,
            training,
            optim,
            prepare=task.prepare,
            mix=task.mix,
            seed=seed,
            device=device,
        )
        self.keeper = Keeper(run, task.save, training, reporter, self.progress, multi_label=objective.multi_label)
        self.rows: list[dict[str, Any]] = []

    def run_epochs(self) -> None:
        started = time.monotonic() - self.progress.seconds
        first_epoch, offset = divmod(self.progress.step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.training.num_epochs):
            self.model.train()
            for module in self.task.frozen:
                module.eval()
            waited, clock = self.task.loader.wait_seconds, time.monotonic()
            waited_before, began = waited, clock
            for batch in self.task.loader.train_batches(epoch, start=offset):
                row = self.train_step(batch)
                now, waited_now = time.monotonic(), self.task.loader.wait_seconds
                row |= {"epoch": epoch, "wait_share": (waited_now - waited) / (now - clock), "seconds": now - started}
                waited, clock = waited_now, now
                self.progress.step, self.progress.seconds = row["step"], now - started
                self.rows.append(row)
                end_of_epoch = self.progress.step % self.steps_per_epoch == 0
                if self.progress.step % self.training.checkpoint_every_steps == 0 and not end_of_epoch:
                    self.checkpoint()
                elif len(self.rows) == 10 or end_of_epoch:
                    self.flush()
            self.report_waiting(epoch, waited - waited_before, clock - began)
            offset = 0
            last_epoch = epoch + 1 == self.training.num_epochs
            if self.task.validate is None and last_epoch:
                self.keeper.keep(better=True)
            elif self.task.validate and ((epoch + 1) % self.training.validate_every_epochs == 0 or last_epoch):
                self.keeper.validate(self.model, epoch, self.task.validate, self.log)
            self.checkpoint()

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """One optimizer step; the values of the row stay on the device until they are flushed."""
        self.count_failures(batch)
        self.schedule.step_update(self.progress.step)
        return self.stepper.take(batch, self.progress.step) | {"num_failed": len(self.progress.failed)}

    def flush(self) -> None:
        """Write the rows gathered so far; the one place where the loop waits for the device."""
        for row in self.rows:
            row |= {name: float(row[name]) for name in ("loss", "top1", "grad_norm")}
            if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
                raise TubeletError(
                    f"loss {row['loss']} and gradient norm {row['grad_norm']} at step {row['step']} "
                    f"(epoch {row['epoch']}, learning rate {row['lr']:.3g}) are not finite; "
                    "the last checkpoint is untouched: lower optim.lr, lengthen optim.warmup_epochs, or use fp32"
                )
            self.log.step(row)
        if self.rows:
            last = self.rows[-1]
            self.reporter.step(last["step"], self.num_steps, last["epoch"], last["loss"])
        self.rows.clear()

    def report_waiting(self, epoch: int, waited: float, seconds: float) -> None:
        """How much of an epoch went by without data to work on, and what to do where that is a lot.

        Said of epochs 1, 2, 4, 8 and so on: what is slow shows early, and short epochs do not fill the screen.
        """
        if (epoch + 1) & epoch:
            return
        share = waited / seconds if seconds > 0 else 0.0
        advice = " (raise data.num_workers; `tubelet data bench` says what takes the time)" if share > 0.3 else ""
        self.reporter.note(f"epoch {epoch + 1}: {seconds:.1f} s, {share:.0%} of it waiting for data{advice}")

    def checkpoint(self) -> None:
        self.flush()
        self.log.flush()
        save_state(self.run, self.model, self.optimizer, self.progress)

    def count_failures(self, batch: Batch) -> None:
        """Unreadable videos stay in the batch with weight 0; too many of them end the run, which can go on from here
        when they can be read again."""
        for line in self.budget.count(batch).values():
            self.reporter.note(f"not used: {line}")
        if self.budget.is_exceeded and self.progress.step:
            self.checkpoint()
        self.budget.check(with_file=self.progress.step > 0)
        self.progress.failed = dict(self.budget.failed)
        self.progress.num_read += len(batch.index)
