"""The training loop: exact, resumable at any step, and ignorant of which model it trains.

Everything random in step s is drawn from generators seeded by (seed, s), and the loader draws batches by
(seed, epoch, index). A run resumed from step s therefore does what the uninterrupted run does after step s.

Several processes run the same loop, each on its rows of every batch. They decide alike, because what they decide by
(failures, losses, metrics) is the same on all of them. The first one writes and reports.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tubelet.data.clips.pixel_augmentation import augment_batch
from tubelet.data.loading.video_notes import VideoNotes
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.errors import Stopped
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.training.config import check_training
from tubelet.training.early_stopping import EarlyStopping
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.health import EARLY_STEPS, TrainingHealth, check_trainable
from tubelet.training.log.run_log import NoLog, RunLog
from tubelet.training.optim.ema import WeightAverage
from tubelet.training.optim.optimizer import make_optimizer
from tubelet.training.optim.schedule import make_schedule
from tubelet.training.parallel.micro_batch import check_portions, gather_micro_batch
from tubelet.training.parallel.parallelize import parallelize
from tubelet.training.setup import Measure, TrainingSetup
from tubelet.training.state.checkpoint_manager import CheckpointManager
from tubelet.training.state.resume import TrainingState, load_state, save_state
from tubelet.training.step import TrainStep
from tubelet.types import Batch

_ROWS_AT_ONCE = 10  # of the log: reading them waits for the device


def fit(setup: TrainingSetup, run: Path, session: Session) -> TrainingState:
    """Train until ``num_epochs``, or until early stopping, from the state in ``run`` if there is one.

    Args:
        run: folder of the run.

    Raises:
        TubeletError: The loss is not finite. The weights of the last checkpoint are untouched.
        Stopped: A signal asked the run to stop. The state of the last step is kept.
        OSError: A file of the run cannot be written. The last state and the checkpoints are whole.
        DataError: More videos could not be read than the failure budget allows.
        ConfigError: A batch is too small for the number of processes.
    """
    check_training(setup.training, has_validation=setup.validate is not None)
    engine = _Engine(setup, run, session)
    step, closed_step = engine.state.step, engine.state.closed_step
    is_main = session.processes.is_main
    with RunLog(run, engine.task, step, closed_step) if is_main else NoLog() as engine.log:
        engine.run_epochs()
    return engine.state


class _Engine:
    log: RunLog

    def __init__(self, setup: TrainingSetup, run: Path, session: Session) -> None:
        self.setup, self.run, self.session, self.training = setup, run, session, setup.training
        training, optim, loader, train = setup.training, setup.optim, setup.loader, setup.loader.dataset.manifest
        self.clips_per_step, self.steps_per_epoch = loader.clips_per_step, loader.steps_per_epoch
        self.num_steps = training.num_epochs * self.steps_per_epoch
        check_portions(self.clips_per_step, training.accumulation, session.processes.size)
        if training.gradient_checkpointing:
            checkpoint_blocks(setup.model)
        self.parallel = parallelize(setup.model, session, training.strategy)
        self.model, self.frozen = self.parallel.model, self.parallel.own(setup.frozen)
        check_trainable(self.model)
        self.optimizer = make_optimizer(self.model, optim)
        self.average = None if training.ema_decay is None else WeightAverage(self.model, training.ema_decay)
        self.schedule = make_schedule(
            self.optimizer, optim, num_epochs=training.num_epochs, steps_per_epoch=self.steps_per_epoch
        )
        self.state = self.resume()
        unreadable = run / UNREADABLE if session.processes.is_main else None
        self.budget = FailureBudget(
            train, setup.failure_budget, "training videos", file=unreadable, failed=self.state.failed
        )
        task = setup.task or task_of(train)
        self.task, self.keys = type(task), [column.key for column in task.steps]
        objective = task.objective(train, training.label_smoothing, training.class_weights)
        self.step = TrainStep(self.parallel, self.optimizer, objective, self.keys, setup)
        self.checkpoints = CheckpointManager(run, setup.save, session, training.keep_last_checkpoints)
        self.early_stopping = EarlyStopping(training, self.task, self.state, self.steps_per_epoch)
        self.health = TrainingHealth(training, optim, session, self.steps_per_epoch, loader.num_workers)
        self.video_notes = VideoNotes(loader.dataset.name, (len(loader.dataset.manifest), "training videos"), session)
        self.rows: list[dict[str, Any]] = []
        self.began, self.num_taken = 0.0, 0  # when training would have begun without a stop; steps of this session

    def resume(self) -> TrainingState:
        """Load the state to go on from, and note where the run cannot go on to the same bits."""
        state = load_state(self.run, self.parallel, self.optimizer, self.average)
        number = self.session.processes.size
        if state.step and state.num_processes != number:
            self.session.progress.note(
                f"goes on with {number} processes where there were {state.num_processes}: batches are the same, but "
                "sums are taken in another order and dropout draws other numbers, so the weights will not be those of "
                "an uninterrupted run to the bit"
            )
        state.num_processes = number
        self.setup.contents.update(state.contents)
        state.contents = self.setup.contents
        return state

    def run_epochs(self) -> None:
        """Train from where the run stands to its end."""
        self.began = time.monotonic() - self.state.seconds
        self.report_resumed()
        self.health.look_at_start(self.setup.loader.dataset.manifest)
        first_epoch, offset = divmod(self.state.step, self.steps_per_epoch)
        if self.state.step and not offset and self.state.closed_step < self.state.step:
            self.end_epoch(first_epoch - 1)  # it was trained, and the process ended while it was validated
        for epoch in range(first_epoch, self.training.num_epochs):
            if self.early_stopping.is_over():
                self.session.progress.note(
                    f"no better validation in {self.training.early_stopping_epochs} epochs since step "
                    f"{self.state.best_step}: training ends after epoch {epoch} of {self.training.num_epochs}"
                )
                return
            self.train_epoch(epoch, offset)
            self.end_epoch(epoch)
            offset = 0

    def report_resumed(self) -> None:
        """Note from where a resumed run goes on, and at which learning rate."""
        step, note = self.state.step, self.session.progress.note
        if step >= self.num_steps:
            note(f"all {self.num_steps} steps are done")
        elif step:
            self.schedule.step_update(step)
            first = self.optimizer.param_groups[0]
            epoch = step // self.steps_per_epoch
            note(
                f"going on from step {step} of {self.num_steps}, in epoch {epoch + 1} of {self.training.num_epochs}, "
                f"at a learning rate of {first['lr'] / first['lr_scale']:.3g}"
            )

    def train_epoch(self, epoch: int, offset: int) -> None:
        """Take the steps of an epoch from number ``offset`` on."""
        self.model.train()
        for module in self.frozen:
            module.eval()  # because a frozen BatchNorm must keep its statistics
        loader = self.setup.loader
        waited, clock = began = steady = loader.wait_seconds, time.monotonic()
        for batch in loader.train_batches(epoch, start=offset):
            self.stop_if_asked()
            self.video_notes.add_batch(batch)
            row = self.train_step(augment_batch(batch, self.session.device))
            now, waited_now = time.monotonic(), loader.wait_seconds
            wait_share = (waited_now - waited) / (now - clock)
            self.rows.append(row | {"epoch": epoch, "wait_share": wait_share, "seconds": now - self.began})
            waited, clock = waited_now, now
            self.state.step, self.state.seconds = row["step"], now - self.began
            self.num_taken += 1
            if self.num_taken == 1:  # the first batch of a session waits for reader processes to start
                steady = waited, clock
            if self.num_taken == EARLY_STEPS:
                self.health.look_at_waiting(waited - steady[0], clock - steady[1])
            is_end = self.state.step % self.steps_per_epoch == 0
            if self.state.step % self.training.checkpoint_every_steps == 0 and not is_end:
                self.checkpoint()
            elif len(self.rows) == _ROWS_AT_ONCE or is_end:
                self.flush()
        self.video_notes.end()
        self.health.report_waiting(epoch, waited - began[0], clock - began[1])
        self.health.look_at_waiting(waited - steady[0], clock - steady[1])

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """Take one optimizer step, and return its row of the log."""
        micro_batch = gather_micro_batch(batch, self.session.processes, self.clips_per_step)
        if micro_batch.failed:
            self.count_failures(micro_batch.failed)
        self.state.num_read += len(micro_batch.weight)
        self.schedule.step_update(self.state.step)
        row = self.step.take(micro_batch, self.state.step)
        if self.average is not None:
            self.average.update(self.model, row["step"])
        return row | {"num_failed": len(self.state.failed)}

    def count_failures(self, failed: dict[int, str]) -> None:
        """Count unreadable videos, which stay in the batch with weight 0. Too many of them end the run.

        The state is kept without them, because the run goes on from here once they can be read again.
        """
        for line in self.budget.add(failed).values():
            self.session.progress.note(f"not used: {line}")
        if self.budget.is_exceeded and self.state.step:
            self.checkpoint()
        self.budget.check(with_file=self.state.step > 0)
        self.state.failed = dict(self.budget.failed)

    def end_epoch(self, epoch: int) -> None:
        """Do what is due after an epoch: validate, and write checkpoints and the state that says that they are done."""
        is_last = epoch + 1 == self.training.num_epochs
        if self.setup.validate and ((epoch + 1) % self.training.validate_every_epochs == 0 or is_last):
            self.checkpoint()  # before the validation, so that a kill during it costs no step
            self.stop_if_asked(is_kept=True)
            try:
                self.validate(epoch, self.setup.validate)
            except Stopped as stop:
                raise self.stopped(stop.signal_number) from None
        elif self.setup.validate is None and is_last:
            self.gather_contents()
            with self.measured_weights():
                self.checkpoints.keep(self.state.step, is_best=True)
        self.state.closed_step = self.state.step
        self.checkpoint()

    def validate(self, epoch: int, measure: Measure) -> None:
        """Measure the model, keep it where it is best, and write down how good it is."""
        step = self.state.step
        with self.measured_weights() as model:
            model.eval()
            metrics = dict(measure(model))
            more, pictures = self.setup.look(model, epoch) if self.setup.look else ({}, {})
            metrics |= more
            is_first = self.state.best is None
            is_best = self.early_stopping.is_best(metrics)
            self.checkpoints.keep(step, is_best=is_best)
        row = {name: metrics.get(name) for name in self.task.validation_header()}
        self.log.validation({"step": step, "epoch": epoch} | row)
        self.log.pictures(pictures, step)
        shown = self.task.cells("console", metrics)
        text = ", ".join(f"{cell.title} {cell.text}" for cell in shown if cell.text)
        self.session.progress.validated(step, epoch, metrics, is_best, text)
        if is_first:
            best = self.run / "best"
            self.session.progress.note(f"{best} is usable from now on: {self.task.command.format(checkpoint=best)}")
            self.health.compare_losses(self.setup.mix)

    @contextmanager
    def measured_weights(self) -> Iterator[nn.Module]:
        """The model with the weights that are validated and kept: its own, or their average."""
        with self.parallel.whole() as model, self.average.in_place(model) if self.average else nullcontext():
            yield model

    def stop_if_asked(self, *, is_kept: bool = False) -> None:
        """Keep the state and leave, all processes together, when a signal came to any of them."""
        requested = self.session.signals.requested
        if not self.session.processes.any(bool(requested)):
            return
        if not is_kept:
            self.checkpoint()
        raise self.stopped(max(self.session.processes.gather(requested)))

    def stopped(self, signal_number: int) -> Stopped:
        name = signal.Signals(signal_number).name
        return Stopped(f"stopped by {name} after step {self.state.step} of {self.num_steps}", signal_number)

    def flush(self) -> None:
        """Write the rows gathered so far. Only here the loop waits for the device."""
        self.setup.check_folder()
        if not self.rows:
            return
        totals = torch.stack([torch.stack([row[key] for key in self.keys]) for row in self.rows])
        for row, values in zip(self.rows, self.session.processes.sum(totals).tolist(), strict=True):
            row |= dict(zip(self.keys, values, strict=True)) | {"grad_norm": float(row["grad_norm"])}
            self.health.look_at_step(row)
            self.log.step(row)
        last = self.rows[-1]
        self.session.progress.step(last["step"], self.num_steps, last["epoch"], last["loss"])
        self.rows.clear()

    def gather_contents(self) -> None:
        """Take over the hashes of files that the readers of all processes have read since."""
        for found in self.session.processes.gather(self.setup.loader.take_contents()):
            self.setup.contents.update(found)

    def checkpoint(self) -> None:
        """Keep the state that the run goes on from."""
        self.flush()
        self.gather_contents()
        self.log.flush()
        save_state(self.run, self.parallel, self.optimizer, self.state, self.average)
