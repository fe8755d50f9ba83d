"""The training loop: exact, resumable at any step, and ignorant of which model it trains.

Everything random in step s is drawn from generators seeded by (seed, s); batches come from the loader by
(seed, epoch, index). A run resumed from step s therefore does what the uninterrupted run does after step s.

Several processes run the same loop, each on its rows of every batch, and decide alike, for what they decide by
(failures, losses, metrics) has gone round before; the first of them writes and reports.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.data.clips.mixing import MixConfig
from tubelet.data.clips.pixel_augmentation import augment_batch
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.failure_budget import FAILURE_BUDGET, UNREADABLE, FailureBudget
from tubelet.errors import Stopped
from tubelet.session.processes import SINGLE, World
from tubelet.session.progress import NoReporter, Reporter
from tubelet.session.signals import Stopping
from tubelet.training.checks import check_portions, check_wishes
from tubelet.training.config import TrainingConfig
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.health import Health, check_trainable
from tubelet.training.log.run_log import NoLog, RunLog
from tubelet.training.objective import make_objective
from tubelet.training.optim.ema import WeightAverage
from tubelet.training.optim.optimizer import OptimizerConfig, make_optimizer, make_schedule
from tubelet.training.parallel.micro_batch import Part, gather_part
from tubelet.training.parallel.parallelize import spread
from tubelet.training.state.checkpoint_manager import Keeper, Measure
from tubelet.training.state.resume import Progress, load_state, save_state
from tubelet.training.step import Stepper


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the loop works on; every part is made by the caller, who knows models and recipes.

    ``prepare`` turns uint8 pixels on the device into the model's input. ``validate`` returns the metrics by name;
    it is None where there is no validation split, and the last weights are then the best. ``save`` writes a
    checkpoint of the model as it stands to the folder it is given. ``failure_budget`` is the share of the training
    videos that may be unreadable (``tubelet.data.manifest.failure_budget``). ``frozen`` are modules that stay in
    eval mode. Of several processes, each gives its own loader, with its rows.
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
    world: World = SINGLE,
    stopping: Stopping | None = None,
) -> Progress:
    """Train until ``num_epochs``, or until early stopping, from the state in ``run`` if there is one.

    Args:
        stopping: asked before every step whether to end; none: nothing asks.

    Raises:
        TubeletError: the loss is not finite; the weights of the last checkpoint are untouched.
        Stopped: ``stopping`` was asked to; the state of the last step is kept.
        OSError: a file of the run cannot be written; the last state and the checkpoints are whole.
        DataError: more videos than the failure budget could not be read.
        ConfigError: a batch is too small for the number of processes.
    """
    check_wishes(training, has_validation=task.validate is not None)
    told = reporter if world.is_main else NoReporter()
    engine = _Engine(task, run, training, optim, seed, device, told, world, stopping or Stopping())
    progress = engine.progress
    with RunLog(run, progress.step, progress.closed_step) if world.is_main else NoLog() as engine.log:
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
        world: World,
        stopping: Stopping,
    ) -> None:
        self.task, self.run, self.training, self.optim = task, run, training, optim
        self.seed, self.device, self.reporter, self.world, self.stopping = seed, device, reporter, world, stopping
        check_portions(task.loader.clips_per_step, training.accumulation, world.size)
        if training.gradient_checkpointing:
            checkpoint_blocks(task.model)
        self.spread = spread(task.model, world, training.strategy, device)
        self.model, self.frozen = self.spread.model, self.spread.own(task.frozen)
        check_trainable(self.model)
        self.optimizer = make_optimizer(self.model, optim)
        self.average = None if training.ema_decay is None else WeightAverage(self.model, training.ema_decay)
        self.others = {} if self.average is None else {"average": self.average}
        self.steps_per_epoch = task.loader.steps_per_epoch
        self.num_steps = training.num_epochs * self.steps_per_epoch
        self.schedule = make_schedule(
            self.optimizer, optim, num_epochs=training.num_epochs, steps_per_epoch=self.steps_per_epoch
        )
        self.progress = self.resume()
        self.budget = FailureBudget(
            task.loader.dataset.manifest,
            task.failure_budget,
            "training videos",
            file=run / UNREADABLE if world.is_main else None,
            failed=self.progress.failed,
        )
        objective = make_objective(task.loader.dataset.manifest, training.label_smoothing, training.class_weights)
        self.stepper = Stepper(
            self.spread,
            self.optimizer,
            objective,
            training,
            optim,
            prepare=task.prepare,
            mix=task.mix,
            seed=seed,
            device=device,
        )
        save = task.save if world.is_main else None
        self.keeper = Keeper(run, save, training, reporter, self.progress, multi_label=objective.multi_label)
        self.health = Health(
            training,
            optim,
            reporter.note,
            warmup_steps=int(optim.warmup_epochs * self.steps_per_epoch),
            num_workers=task.loader.num_workers,
        )
        self.rows: list[dict[str, Any]] = []
        self.started, self.is_starting = 0.0, True

    def resume(self) -> Progress:
        """Where the run goes on, and a word where it cannot do so to the bit."""
        progress = load_state(self.run, self.spread, self.optimizer, self.others)
        if progress.step and progress.num_processes != self.world.size:
            self.reporter.note(
                f"goes on with {self.world.size} processes where there were {progress.num_processes}: batches are the "
                "same, but sums are taken in another order and dropout draws other numbers, so the weights will not be "
                "those of an uninterrupted run to the bit"
            )
        progress.num_processes = self.world.size
        return progress

    def run_epochs(self) -> None:
        """From where the run stands to its end."""
        self.started = time.monotonic() - self.progress.seconds
        self.health.look_at_start(self.task.loader.dataset.manifest)
        first_epoch, offset = divmod(self.progress.step, self.steps_per_epoch)
        if self.progress.step and not offset and self.progress.closed_step < self.progress.step:
            self.end_epoch(first_epoch - 1)  # it was trained, and the process ended while it was validated
        for epoch in range(first_epoch, self.training.num_epochs):
            if self.keeper.is_over(self.steps_per_epoch):
                self.reporter.note(
                    f"no better validation in {self.training.early_stopping_epochs} epochs since step "
                    f"{self.progress.best_step}: training ends after epoch {epoch} of {self.training.num_epochs}"
                )
                return
            self.train_epoch(epoch, offset)
            self.end_epoch(epoch)
            offset = 0

    def train_epoch(self, epoch: int, offset: int) -> None:
        """The steps of an epoch from number ``offset`` on."""
        self.model.train()
        for module in self.frozen:
            module.eval()
        loader = self.task.loader
        waited, clock = began = steady = loader.wait_seconds, time.monotonic()
        for batch in loader.train_batches(epoch, start=offset):
            self.stop_if_asked()
            batch = augment_batch(batch, self.device)
            row = self.train_step(gather_part(batch, self.world, loader.clips_per_step))
            now, waited_now = time.monotonic(), loader.wait_seconds
            wait_share = (waited_now - waited) / (now - clock)
            row |= {"epoch": epoch, "wait_share": wait_share, "seconds": now - self.started}
            waited, clock = waited_now, now
            if self.is_starting:  # the first batch of a session waits for reader processes to start
                steady, self.is_starting = (waited, clock), False
            self.health.look_early(waited - steady[0], clock - steady[1])
            self.progress.step, self.progress.seconds = row["step"], row["seconds"]
            self.rows.append(row)
            end_of_epoch = self.progress.step % self.steps_per_epoch == 0
            if self.progress.step % self.training.checkpoint_every_steps == 0 and not end_of_epoch:
                self.checkpoint()
            elif len(self.rows) == 10 or end_of_epoch:
                self.flush()
        self.health.report_waiting(epoch, waited - began[0], clock - began[1])
        self.health.look_at_waiting(waited - steady[0], clock - steady[1])

    def end_epoch(self, epoch: int) -> None:
        """What is due after an epoch: validation and checkpoints, and the state that says that they are done."""
        is_last = epoch + 1 == self.training.num_epochs
        if self.task.validate and ((epoch + 1) % self.training.validate_every_epochs == 0 or is_last):
            self.checkpoint()  # a validation that does not come to its end costs no step
            self.stop_if_asked(is_kept=True)
            self.validate(epoch, self.task.validate)
        elif self.task.validate is None and is_last:
            with self.measured_weights():
                self.keeper.keep(better=True)
        self.progress.closed_step = self.progress.step
        self.checkpoint()

    def validate(self, epoch: int, measure: Measure) -> None:
        try:
            with self.measured_weights() as model:
                self.keeper.validate(model, epoch, measure, self.log)
        except Stopped as stop:
            raise self.stopped(stop.signal_number) from None

    @contextmanager
    def measured_weights(self) -> Iterator[nn.Module]:
        """The model with the weights that are validated and kept: its own, or their average."""
        with self.spread.whole() as model, self.average.in_place(model) if self.average else nullcontext():
            yield model

    def stop_if_asked(self, *, is_kept: bool = False) -> None:
        """Between two steps: when a signal came to any of the processes, all of them keep the state and leave."""
        if not self.world.any(bool(self.stopping.requested)):
            return
        if not is_kept:
            self.checkpoint()
        raise self.stopped(max(self.world.gather(self.stopping.requested)))

    def stopped(self, signal_number: int) -> Stopped:
        name = signal.Signals(signal_number).name
        return Stopped(f"stopped by {name} after step {self.progress.step} of {self.num_steps}", signal_number)

    def train_step(self, part: Part) -> dict[str, Any]:
        """One optimizer step; the values of the row stay on the device until they are flushed."""
        self.count_failures(part)
        self.schedule.step_update(self.progress.step)
        row = self.stepper.take(part, self.progress.step) | {"num_failed": len(self.progress.failed)}
        if self.average is not None:
            self.average.update(self.model, row["step"])
        return row

    def flush(self) -> None:
        """Write the rows gathered so far; the one place where the loop waits for the device."""
        self.add_up()
        for row in self.rows:
            self.health.look_at_step(row)
            self.log.step(row)
        if self.rows:
            last = self.rows[-1]
            self.reporter.step(last["step"], self.num_steps, last["epoch"], last["loss"])
        self.rows.clear()

    def add_up(self) -> None:
        """Values of the rows as numbers, losses and right answers over all processes."""
        if not self.rows:
            return
        totals = self.world.sum(torch.stack([torch.stack([row["loss"], row["top1"]]) for row in self.rows]))
        for row, (loss, top1) in zip(self.rows, totals.tolist(), strict=True):
            row |= {"loss": loss, "top1": top1, "grad_norm": float(row["grad_norm"])}

    def checkpoint(self) -> None:
        self.flush()
        self.log.flush()
        save_state(self.run, self.spread, self.optimizer, self.progress, self.others)

    def count_failures(self, part: Part) -> None:
        """Unreadable videos stay in the batch with weight 0; too many of them end the run, which can go on from here
        when they can be read again."""
        for line in self.budget.add(part.failed).values():
            self.reporter.note(f"not used: {line}")
        if self.budget.is_exceeded and self.progress.step:
            self.checkpoint()
        self.budget.check(with_file=self.progress.step > 0)
        self.progress.failed = dict(self.budget.failed)
        self.progress.num_read += len(part)
