"""The training loop: exact, resumable at any step, and ignorant of which model it trains.

Everything random in step s is drawn from generators seeded by (seed, s); batches come from the loader by
(seed, epoch, index). A run resumed from step s therefore does what the uninterrupted run does after step s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.loader import Loader
from tubelet.errors import ConfigError, DataError, TubeletError
from tubelet.training.log import VALIDATION_COLUMNS, RunLog
from tubelet.training.optim import OptimizerConfig, make_optimizer, make_schedule
from tubelet.training.resume import Progress, load_state, save_state
from tubelet.types import Batch

BestMetric = Literal["top1", "mean_class", "auroc", "loss"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, in what portions, and what is kept."""

    num_epochs: int = 30  # passes over the training split
    batch_size: int = 32  # videos per optimizer step
    accumulation: int = 1  # parts that a batch is computed in, to fit memory; the gradient is that of the whole
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast on CPU and GPU; weights stay fp32
    label_smoothing: float = 0.0  # share of the target spread evenly over the classes
    validate_every_epochs: int = 1  # the last epoch is always validated
    best_metric: BestMetric = "top1"  # of the validation split; decides what best/ holds
    checkpoint_every_steps: int = 200  # optimizer steps between states to resume from, beside one per validation
    failure_budget: float = 0.01  # share of unreadable videos above which the run stops; 0: at the first, else one may

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "accumulation", "validate_every_epochs", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.accumulation > self.batch_size:
            raise ConfigError(f"accumulation {self.accumulation} cuts a batch of {self.batch_size} into nothing")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.failure_budget <= 1:
            raise ConfigError("label_smoothing must lie in [0, 1) and failure_budget in [0, 1]")


@runtime_checkable
class Reporter(Protocol):
    """Who is told how a run goes: the console, or nobody."""

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None: ...
    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the loop works on; every part is made by the caller, who knows models and recipes.

    ``prepare`` turns uint8 pixels on the device into the model's input. ``validate`` returns the metrics by name;
    it is None where there is no validation split, and the last weights are then the best. ``save`` writes a
    checkpoint of the model as it stands to the folder it is given.
    """

    model: nn.Module
    loader: Loader
    prepare: Callable[[Tensor], Tensor]
    validate: Callable[[nn.Module], Mapping[str, Any]] | None
    save: Callable[[Path], None]


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
        self.rows: list[dict[str, Any]] = []

    def run_epochs(self) -> None:
        started = time.monotonic() - self.progress.seconds
        first_epoch, offset = divmod(self.progress.step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.training.num_epochs):
            self.model.train()
            waited, clock = self.task.loader.wait_seconds, time.monotonic()
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
            offset = 0
            last_epoch = epoch + 1 == self.training.num_epochs
            if self.task.validate is None and last_epoch:
                self.keep(better=True)
            elif self.task.validate and ((epoch + 1) % self.training.validate_every_epochs == 0 or last_epoch):
                self.validate(epoch, self.task.validate)
            self.checkpoint()

    def train_step(self, batch: Batch) -> dict[str, Any]:
        """One optimizer step; the values of the row stay on the device until they are flushed."""
        step = self.progress.step
        torch.manual_seed(step_seed(self.seed, step))
        self.count_failures(batch)
        self.schedule.step_update(step)
        total, loss, correct = batch.weight.sum().clamp(min=1), torch.zeros(()), torch.zeros(())
        self.optimizer.zero_grad(set_to_none=True)
        columns = (x.tensor_split(self.training.accumulation) for x in (batch.clips, batch.labels, batch.weight))
        for clips, labels, weight in zip(*columns, strict=True):
            labels, weight = labels.to(self.device), weight.to(self.device) / total.to(self.device)
            pixels = self.task.prepare(clips.to(self.device, non_blocking=True))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
                logits = self.model(pixels)
            part = weighted_loss(logits.float(), labels, weight, self.training.label_smoothing)
            part.backward()
            loss = loss.to(self.device) + part.detach()
            correct = correct.to(self.device) + ((logits.argmax(-1) == labels) * weight).sum()
        limit = math.inf if self.optim.clip_grad_norm is None else self.optim.clip_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        return {"step": step + 1, "lr": lr, "loss": loss, "top1": correct, "grad_norm": norm}

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

    def checkpoint(self) -> None:
        self.flush()
        self.log.flush()
        save_state(self.run, self.model, self.optimizer, self.progress)

    def validate(self, epoch: int, measure: Callable[[nn.Module], Mapping[str, Any]]) -> None:
        self.model.eval()
        metrics = measure(self.model)
        value = metrics[self.training.best_metric]
        if value is None:
            name = self.training.best_metric
            raise ConfigError(f"training.best_metric={name} is undefined on the validation split; use top1 or loss")
        better = self.progress.best is None or (
            value < self.progress.best if self.training.best_metric == "loss" else value > self.progress.best
        )
        if better:
            self.progress.best, self.progress.best_step = value, self.progress.step
        self.keep(better)
        row = {"step": self.progress.step, "epoch": epoch}
        self.log.validation(row | {name: metrics[name] for name in VALIDATION_COLUMNS if name not in row})
        self.reporter.validated(self.progress.step, epoch, metrics, better)

    def keep(self, better: bool) -> None:
        """Write checkpoints before the state that says they were written: a kill in between writes them again."""
        if better:
            self.task.save(self.run / "best")
        self.task.save(self.run / "last")

    def count_failures(self, batch: Batch) -> None:
        """Unreadable videos stay in the batch with weight 0; too many of them end the run, which can go on from here
        when they can be read again."""
        unread = [row for row, weight in zip(batch.index, batch.weight.tolist(), strict=True) if weight == 0]
        failed = {**dict(zip(unread, batch.failures, strict=True)), **self.progress.failed}
        for row in sorted(failed.keys() - self.progress.failed.keys()):
            self.reporter.note(f"not used: {failed[row]}")
        share, num_videos = self.training.failure_budget, len(self.task.loader.dataset)
        if len(failed) > (max(1.0, share * num_videos) if share else 0):
            if self.progress.step:
                self.checkpoint()
            named = "; ".join(list(failed.values())[:4])
            raise DataError(
                f"{len(failed)} of {num_videos} training videos cannot be read, more than training.failure_budget="
                f"{share:g} allows; replace them or leave them out: {named}"
            )
        self.progress.failed = failed
        self.progress.num_read += len(batch.index)


def weighted_loss(
    logits: Float[Tensor, "B K"], labels: Tensor, weight: Float[Tensor, " B"], label_smoothing: float
) -> Float[Tensor, ""]:
    """Cross entropy summed over the batch with a weight per video; labels smoothed as y (1 - s) + s / K."""
    return (F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing) * weight).sum()


def step_seed(seed: int, step: int) -> int:
    """The seed of one optimizer step: distinct for every (seed, step) a run can have."""
    return (seed * 1_000_003 + step) % (1 << 63)
