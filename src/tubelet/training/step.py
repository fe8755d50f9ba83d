"""One optimizer step: from a batch to new weights, with everything random in it keyed by (seed, step).

B  videos of the batch    K  classes of all heads together
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.data.clips.mixing import MixConfig, draw_mixture
from tubelet.data.loading.dataset import keyed_generator
from tubelet.models.stages import model_inputs
from tubelet.tasks.task import Objective
from tubelet.training.compile import compile_forward
from tubelet.training.config import TrainingConfig
from tubelet.training.optim.optimizer import OptimizerConfig
from tubelet.training.parallel.micro_batch import Mixed, Part, borrow_partners
from tubelet.training.parallel.parallelize import Spread, full


class Stepper:
    """Takes optimizer steps.

    Args:
        spread: the model, which maps clips to logits ``[B, K]``, as it lies on the processes; on ``device``.
        optimizer: of the model's parameters; its learning rate is set before each step by the caller's schedule.
        objective: what is minimized.
        keys: what the log calls the values of the objective, the loss first.
        prepare: turns uint8 pixels on the device into the model's input.
        mix: mixup and cutmix.
        seed: with the step it keys the mixture, and with the number of the process dropout and stochastic depth.
    """

    def __init__(
        self,
        spread: Spread,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        keys: Sequence[str],
        training: TrainingConfig,
        optim: OptimizerConfig,
        *,
        prepare: Callable[[Tensor], Tensor],
        mix: MixConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.spread, self.model, self.optimizer = spread, spread.model, optimizer
        self.objective, self.keys = objective, keys
        self.forward = compile_forward(spread.module, device) if training.compile else spread.module
        self.training, self.optim = training, optim
        self.prepare, self.mix, self.seed, self.device = prepare, mix, seed, device

    def take(self, part: Part, step: int) -> dict[str, Any]:
        """Step number ``step``, counted from 0: a row of the log, whose values stay on the device. Those of the
        objective are the contributions of this process; over the processes they add up."""
        torch.manual_seed(process_seed(step_seed(self.seed, step), self.spread.world.rank))
        self.optimizer.zero_grad(set_to_none=True)
        values = self._backward(part, step)
        limit = math.inf if self.optim.clip_grad_norm is None else self.optim.clip_grad_norm
        norm = full(nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        first = self.optimizer.param_groups[0]
        lr = first["lr"] / first["lr_scale"]
        self.optimizer.step()
        self.spread.average_statistics()
        return {"step": step + 1, "lr": lr, **dict(zip(self.keys, values, strict=True)), "grad_norm": norm}

    def _backward(self, part: Part, step: int) -> list[Tensor]:
        """The gradient of the batch in portions, and this process's part of the values of the objective."""
        own = part.rows(self.spread.world.rank)
        shares = self.objective.shares(part.labels, part.weight)[own]  # B means, in the mean over the whole batch
        totals = self._zeros()
        mixed, numbers = self._mix(part, step), part.batch.frame_numbers
        portions = _portions(len(part.batch.index), self.training.accumulation)
        for rows in portions:
            pixels = mixed.mixture.clips(mixed.clips, rows, self._to_input)
            with self.spread.gathering(is_last=rows == portions[-1]):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
                    logits = self.forward(*model_inputs(self.model, pixels, numbers[rows]))  # B K, of the portion
                loss, *others = self._score(_at_least_fp32(logits), mixed.mixture.labels(mixed.labels, shares, rows))
                (loss * self.spread.scale).backward()
            totals = [total + value.detach() for total, value in zip(totals, (loss, *others), strict=True)]
        return totals

    def _mix(self, part: Part, step: int) -> Mixed:
        size = (part.batch.clips.shape[-2], part.batch.clips.shape[-1])
        mixture = draw_mixture(self.mix, part.weight, size, keyed_generator(self.seed, step, 0, 0, 0))
        return borrow_partners(part, mixture, self.spread.world)

    def _to_input(self, clips: Tensor) -> Tensor:
        return self.prepare(clips.to(self.device, non_blocking=True))

    def _score(self, logits: Tensor, targets: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The values of the objective. A mixed clip counts by the shares of its own target and its partner's."""
        totals = self._zeros()
        for of_clips, shares in targets:
            values = self.objective(logits, of_clips.to(self.device), shares.to(self.device))
            totals = [total + value for total, value in zip(totals, values, strict=True)]
        return totals

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros((), device=self.device) for _ in self.keys]


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
