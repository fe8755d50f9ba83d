"""One optimizer step: from a batch to new weights, with everything random in it keyed by (seed, step).

B  videos of the batch    K  classes of all heads together
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.data.dataset import keyed_generator
from tubelet.data.mixing import MixConfig, Mixture, draw_mixture
from tubelet.training.config import TrainingConfig
from tubelet.training.objective import Objective
from tubelet.training.optim import OptimizerConfig
from tubelet.types import Batch


class Stepper:
    """Takes optimizer steps.

    Args:
        model: maps clips to logits ``[B, K]``; on ``device``.
        optimizer: of the model's parameters; its learning rate is set before each step by the caller's schedule.
        objective: what is minimized.
        prepare: turns uint8 pixels on the device into the model's input.
        mix: mixup and cutmix.
        seed: with the step it keys dropout, stochastic depth and the mixture.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        training: TrainingConfig,
        optim: OptimizerConfig,
        *,
        prepare: Callable[[Tensor], Tensor],
        mix: MixConfig,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.optimizer, self.objective = model, optimizer, objective
        self.training, self.optim = training, optim
        self.prepare, self.mix, self.seed, self.device = prepare, mix, seed, device

    def take(self, batch: Batch, step: int) -> dict[str, Any]:
        """Step number ``step``, counted from 0: a row of the log, whose values stay on the device."""
        torch.manual_seed(step_seed(self.seed, step))
        self.optimizer.zero_grad(set_to_none=True)
        loss, correct = self._backward(batch, step)
        limit = math.inf if self.optim.clip_grad_norm is None else self.optim.clip_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        first = self.optimizer.param_groups[0]
        lr = first["lr"] / first["lr_scale"]
        self.optimizer.step()
        return {"step": step + 1, "lr": lr, "loss": loss, "top1": correct, "grad_norm": norm}

    def _backward(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """The gradient of the batch in parts, its loss, and the share of it that is right."""
        shares = self.objective.shares(batch.labels, batch.weight)  # B means
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        mixture = self._draw_mixture(batch, step)
        for rows in _parts(len(batch.index), self.training.accumulation):
            pixels = mixture.clips(batch.clips, rows, self._to_input)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
                logits = self.model(pixels)  # B K, of the part
            part, right = self._score(logits.float(), mixture.labels(batch.labels, shares, rows))
            part.backward()
            loss, correct = loss + part.detach(), correct + right
        return loss, correct

    def _draw_mixture(self, batch: Batch, step: int) -> Mixture:
        size = (batch.clips.shape[-2], batch.clips.shape[-1])
        return draw_mixture(self.mix, batch.weight, size, keyed_generator(self.seed, step, 0, 0, 0))

    def _to_input(self, clips: Tensor) -> Tensor:
        return self.prepare(clips.to(self.device, non_blocking=True))

    def _score(self, logits: Tensor, targets: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Loss, and how much of the weight the most likely class has: of a mixed clip, the share of its label."""
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for labels, shares in targets:
            part, right = self.objective(logits, labels.to(self.device), shares.to(self.device))
            loss, correct = loss + part, correct + right
        return loss, correct


def _parts(length: int, number: int) -> list[slice]:
    """``length`` rows cut into ``number`` parts of about the same size, without empty ones."""
    parts = torch.arange(length).tensor_split(number)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def step_seed(seed: int, step: int) -> int:
    """The seed of one optimizer step: distinct for every (seed, step) a run can have."""
    return (seed * 1_000_003 + step) % (1 << 63)
