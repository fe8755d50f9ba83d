"""The training loop: exact, resumable at any step, and ignorant of which model it trains.

Everything random in step s is drawn from generators seeded by (seed, s); batches come from the loader by
(seed, epoch, index). A run resumed from step s therefore does what the uninterrupted run does after step s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tubelet.data.budget import FAILURE_BUDGET, UNREADABLE, FailureBudget
from tubelet.data.dataset import keyed_generator
from tubelet.data.loader import Loader
from tubelet.data.mixing import MixConfig, Mixture, draw_mixture
from tubelet.data.order import Sampling
from tubelet.errors import ConfigError, TubeletError
from tubelet.training.log import VALIDATION_COLUMNS, RunLog
from tubelet.training.objective import ClassWeights, make_objective
from tubelet.training.optim import OptimizerConfig, make_optimizer, make_schedule
from tubelet.training.resume import Progress, load_state, save_state
from tubelet.types import Batch

BestMetric = Literal["auto", "top1", "mean_class", "auroc", "mean_average_precision", "loss"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, in what portions, and what is kept."""

    num_epochs: int = 30  # passes over the training split
    batch_size: int = 32  # videos per optimizer step
    accumulation: int = 1  # parts that a batch is computed in, to fit memory; the gradient is that of the whole
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast on CPU and GPU; weights stay fp32
    label_smoothing: float = 0.0  # share of the target spread evenly over the classes
    validate_every_epochs: int = 1  # the last epoch is always validated
    class_weights: ClassWeights = "none"  # balanced: a video counts the more in the loss the rarer its class is
    sampling: Sampling = "natural"  # balanced: an epoch draws rows so that every class comes equally often
    best_metric: BestMetric = "auto"  # of validation, decides what best/ holds; auto: top1 (of actions), or mAP
    checkpoint_every_steps: int = 200  # optimizer steps between states to resume from, beside one per validation

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "accumulation", "validate_every_epochs", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.accumulation > self.batch_size:
            raise ConfigError(f"accumulation {self.accumulation} cuts a batch of {self.batch_size} into nothing")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing:g}")
        if (self.class_weights, self.sampling) == ("balanced", "balanced"):
            raise ConfigError("class_weights and sampling both balance the classes; choose one of them")


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
        self.objective = make_objective(task.loader.dataset.manifest, training.label_smoothing, training.class_weights)
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
        shares, loss, correct = self.objective.shares(batch.labels, batch.weight), torch.zeros(()), torch.zeros(())
        self.optimizer.zero_grad(set_to_none=True)
        mixture = self.draw_mixture(batch)
        for rows in _parts(len(batch.index), self.training.accumulation):
            pixels = mixture.clips(batch.clips, rows, self.to_input)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
                logits = self.model(pixels)
            part, right = self.score(logits.float(), mixture.labels(batch.labels, shares, rows))
            part.backward()
            loss, correct = loss.to(self.device) + part.detach(), correct.to(self.device) + right
        limit = math.inf if self.optim.clip_grad_norm is None else self.optim.clip_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        first = self.optimizer.param_groups[0]
        lr = first["lr"] / first["lr_scale"]
        self.optimizer.step()
        return {
            "step": step + 1,
            "lr": lr,
            "loss": loss,
            "top1": correct,
            "grad_norm": norm,
            "num_failed": len(self.progress.failed),
        }

    def draw_mixture(self, batch: Batch) -> Mixture:
        """Mixup or cutmix of this step, keyed by (seed, step) like everything random in it."""
        size = (batch.clips.shape[-2], batch.clips.shape[-1])
        return draw_mixture(self.task.mix, batch.weight, size, keyed_generator(self.seed, self.progress.step, 0, 0, 0))

    def to_input(self, clips: Tensor) -> Tensor:
        return self.task.prepare(clips.to(self.device, non_blocking=True))

    def score(self, logits: Tensor, targets: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Loss, and how much of the weight the most likely class has: of a mixed clip, the share of its label."""
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for labels, shares in targets:
            part, right = self.objective(logits, labels.to(self.device), shares.to(self.device))
            loss, correct = loss + part, correct + right
        return loss, correct

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

    def validate(self, epoch: int, measure: Callable[[nn.Module], Mapping[str, Any]]) -> None:
        self.model.eval()
        metrics = measure(self.model)
        name, usual = self.training.best_metric, "mean_average_precision" if self.objective.multi_label else "top1"
        value = metrics.get(usual if name == "auto" else name)
        if value is None:
            raise ConfigError(f"training.best_metric={name} is undefined on the validation split; use {usual} or loss")
        better = self.progress.best is None or (
            value < self.progress.best if self.training.best_metric == "loss" else value > self.progress.best
        )
        if better:
            self.progress.best, self.progress.best_step = value, self.progress.step
        self.keep(better)
        row = {"step": self.progress.step, "epoch": epoch}
        self.log.validation(row | {name: metrics.get(name) for name in VALIDATION_COLUMNS if name not in row})
        self.reporter.validated(self.progress.step, epoch, metrics, better)

    def keep(self, better: bool) -> None:
        """Write checkpoints before the state that says they were written: a kill in between writes them again."""
        if better:
            self.task.save(self.run / "best")
        self.task.save(self.run / "last")

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


def _parts(length: int, number: int) -> list[slice]:
    """``length`` rows cut into ``number`` parts of about the same size, without empty ones."""
    parts = torch.arange(length).tensor_split(number)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def step_seed(seed: int, step: int) -> int:
    """The seed of one optimizer step: distinct for every (seed, step) a run can have."""
    return (seed * 1_000_003 + step) % (1 << 63)
