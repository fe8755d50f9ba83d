"""One optimizer step: from a batch to new weights, with everything random in it keyed by (seed, step).

B  videos of the batch    K  classes of all heads together
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.data.clips.mixing import MixConfig, draw_mixture
from tubelet.data.clips.random import keyed_generator
from tubelet.models.stages import model_inputs
from tubelet.training.compile import compile_forward
from tubelet.training.config import TrainingConfig
from tubelet.training.objective import Objective
from tubelet.training.optim.optimizer import OptimizerConfig
from tubelet.training.parallel.micro_batch import Mixed, Part, borrow_partners
from tubelet.training.parallel.parallelize import Spread, full


class Stepper:
    """Takes optimizer steps.

    Args:
        spread: the model, which maps clips to logits ``[B, K]``, as it lies on the processes; on ``device``.
        optimizer: of the model's parameters; its learning rate is set before each step by the caller's schedule.
        objective: what is minimized.
        prepare: turns uint8 pixels on the device into the model's input.
        mix: mixup and cutmix.
        seed: with the step it keys the mixture, and with the number of the process dropout and stochastic depth.
    """

    def __init__(
        self,
        spread: Spread,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        training: TrainingConfig,
        optim: OptimizerConfig,
        *,
        prepare: Callable[[Tensor], Tensor],
        mix: MixConfig,
        seed: int,
    ) -> None:
        self.spread, self.model, self.optimizer, self.objective = spread, spread.model, optimizer, objective
        self.forward = compile_forward(spread.module, spread.device) if training.compile else spread.module
        self.training, self.optim = training, optim
        self.prepare, self.mix, self.seed, self.device = prepare, mix, seed, spread.device

    def take(self, part: Part, step: int) -> dict[str, Any]:
        """Step number ``step``, counted from 0: a row of the log, whose values stay on the device. Loss and share of
        right answers are the contributions of this process; over the processes they add up."""
        torch.manual_seed(process_seed(step_seed(self.seed, step), self.spread.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        loss, correct = self._backward(part, step)
        limit = math.inf if self.optim.clip_grad_norm is None else self.optim.clip_grad_norm
        norm = full(nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        first = self.optimizer.param_groups[0]
        lr = first["lr"] / first["lr_scale"]
        self.optimizer.step()
        self.spread.average_statistics()
        return {"step": step + 1, "lr": lr, "loss": loss, "top1": correct, "grad_norm": norm}

    def _backward(self, part: Part, step: int) -> tuple[Tensor, Tensor]:
        """The gradient of the batch in portions, this process's part of its loss, and of the share that is right."""
        own = part.rows(self.spread.processes.rank)
        shares = self.objective.shares(part.labels, part.weight)[own]  # B means, in the mean over the whole batch
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        mixed, numbers = self._mix(part, step), part.batch.frame_numbers
        portions = _portions(len(part.batch.index), self.training.accumulation)
        for rows in portions:
            pixels = mixed.mixture.clips(mixed.clips, rows, self._to_input)
            with self.spread.gathering(is_last=rows == portions[-1]):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
                    logits = self.forward(*model_inputs(self.model, pixels, numbers[rows]))  # B K, of the portion
                of_rows, right = self._score(_at_least_fp32(logits), mixed.mixture.labels(mixed.labels, shares, rows))
                (of_rows * self.spread.scale).backward()
            loss, correct = loss + of_rows.detach(), correct + right
        return loss, correct

    def _mix(self, part: Part, step: int) -> Mixed:
        size = (part.batch.clips.shape[-2], part.batch.clips.shape[-1])
        mixture = draw_mixture(self.mix, part.weight, size, keyed_generator(self.seed, step, 0, 0, 0))
        return borrow_partners(part, mixture, self.spread.processes)

    def _to_input(self, clips: Tensor) -> Tensor:
        return self.prepare(clips.to(self.device, non_blocking=True))

    def _score(self, logits: Tensor, targets: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Loss, and how much of the weight the most likely class has: of a mixed clip, the share of its label."""
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for labels, shares in targets:
            part, right = self.objective(logits, labels.to(self.device), shares.to(self.device))
            loss, correct = loss + part, correct + right
        return loss, correct


def _at_least_fp32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _portions(length: int, number: int) -> list[slice]:
    """``length`` rows cut into ``number`` portions of about the same size, without empty ones."""
    portions = torch.arange(length).tensor_split(number)
    return [slice(int(rows[0]), int(rows[-1]) + 1) for rows in portions if len(rows)]


def step_seed(seed: int, step: int) -> int:
    """The seed of one optimizer step: distinct for every (seed, step) a run can have."""
    return (seed * 1_000_003 + step) % (1 << 63)


def process_seed(seed: int, rank: int) -> int:
    """The seed of one process in a step: that of the step itself for the first."""
    return (seed + rank * 0x9E3779B97F4A7C15) % (1 << 63)
