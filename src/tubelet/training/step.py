"""One optimizer step, top to bottom: mixing, forward and backward pass, gradient clipping, new weights.

Everything random in a step is keyed by (seed, step), because a resumed run must draw what the uninterrupted run draws.

B  videos of the batch    K  classes of all heads together
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.mixing import draw_mixture
from tubelet.errors import ConfigError
from tubelet.models.stages import model_inputs
from tubelet.session.device import autocast
from tubelet.tasks.task import Objective
from tubelet.training.parallel.micro_batch import MicroBatch, MixedClips, borrow_partners
from tubelet.training.parallel.parallelize import ParallelModel, full
from tubelet.training.setup import TrainingSetup

Forward = Callable[..., Tensor]  # of the model's inputs


class TrainStep:
    """Takes optimizer steps.

    Args:
        parallel: the model, as it lies on the processes.
        optimizer: of the model's parameters. The caller's schedule sets its learning rate before each step.
        objective: what is minimized.
        keys: what the log calls the values of the objective, the loss first.
        setup: says how batches are prepared, mixed and cut, and holds the seed.
    """

    def __init__(
        self,
        parallel: ParallelModel,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        keys: Sequence[str],
        setup: TrainingSetup,
    ) -> None:
        self.parallel, self.model, self.device = parallel, parallel.model, parallel.device
        self.processes, self.optimizer = parallel.processes, optimizer
        self.objective, self.keys, self.setup = objective, keys, setup
        is_compiled = setup.training.compile
        self.forward = compile_forward(parallel.module, self.device) if is_compiled else parallel.module
        # Without a limit the norm is still measured, for the log.
        self.max_norm = math.inf if setup.optim.clip_grad_norm is None else setup.optim.clip_grad_norm

    def take(self, batch: MicroBatch, step: int) -> dict[str, Any]:
        """Take step ``step``, counted from 0.

        Returns:
            A row of the log. Its values stay on the device, because reading them would wait for it. The values of the
            objective are those of this process; their sums over the processes are those of the batch.
        """
        torch.manual_seed(process_seed(step_seed(self.setup.seed, step), self.processes.rank))
        self.optimizer.zero_grad(set_to_none=True)
        values = self._backward(batch, self._mix(batch, step))
        norm = full(nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm))
        first = self.optimizer.param_groups[0]
        lr = first["lr"] / first["lr_scale"]
        self.optimizer.step()
        if self.processes.size > 1:
            self.parallel.average_statistics()
        return {"step": step + 1, "lr": lr, **dict(zip(self.keys, values, strict=True)), "grad_norm": norm}

    def _mix(self, batch: MicroBatch, step: int) -> MixedClips:
        """Draw the mixture of the whole batch, the same on every process, and fetch partners from other processes."""
        clips = batch.own.clips
        size = (clips.shape[-2], clips.shape[-1])
        mixture = draw_mixture(self.setup.mix, batch.weight, size, keyed_generator(self.setup.seed, step, 0, 0, 0))
        if self.processes.size > 1:
            return borrow_partners(batch, mixture, self.processes)
        return MixedClips(clips=clips, labels=batch.labels, mixture=mixture)

    def _backward(self, batch: MicroBatch, mixed: MixedClips) -> list[Tensor]:
        """Compute the gradient in portions that fit into memory, and return the values of the objective."""
        rows_of_process = batch.spans[self.processes.rank]
        # Shares are of the whole batch, so that portions and processes add up to its mean however they are cut.
        shares = self.objective.shares(batch.labels, batch.weight)[rows_of_process]  # B means
        totals = [torch.zeros((), device=self.device) for _ in self.keys]
        numbers = batch.own.frame_numbers
        portions = _portions(len(batch.own.index), self.setup.training.accumulation)
        for rows in portions:
            clips = mixed.mixture.clips(mixed.clips, rows, self.setup.prepare)  # B C T H W
            # Gradients travel between processes once a step, with the last portion.
            waits = rows != portions[-1] and isinstance(self.parallel.module, DistributedDataParallel)
            with self.parallel.module.no_sync() if waits else nullcontext():  # type: ignore[operator]
                with autocast(self.device, self.setup.training.precision):
                    inputs = model_inputs(self.model, clips, numbers[rows], mixed.labels[rows])
                    logits = self.forward(*inputs)  # B K
                logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # losses lose bits in bf16
                values = [torch.zeros((), device=self.device) for _ in self.keys]
                for targets, weight in mixed.mixture.labels(mixed.labels, shares, rows):  # of the clips, of partners
                    found = self.objective(logits, targets.to(self.device), weight.to(self.device))
                    values = [value + more for value, more in zip(values, found, strict=True)]
                (values[0] * self.parallel.scale).backward()
            totals = [total + value.detach() for total, value in zip(totals, values, strict=True)]
        return totals


def _portions(length: int, number: int) -> list[slice]:
    """Cut ``length`` rows into ``number`` portions of about the same size, without empty ones."""
    portions = torch.arange(length).tensor_split(number)
    return [slice(int(rows[0]), int(rows[-1]) + 1) for rows in portions if len(rows)]


def step_seed(seed: int, step: int) -> int:
    """The seed of one optimizer step: distinct for every (seed, step) a run can have."""
    return (seed * 1_000_003 + step) % (1 << 63)


def process_seed(seed: int, rank: int) -> int:
    """The seed of one process in a step. The first process has that of the step itself."""
    return (seed + rank * 0x9E3779B97F4A7C15) % (1 << 63)


def compile_forward(model: nn.Module, device: torch.device, backend: str = "inductor") -> Forward:
    """Return the model as a function that ``torch.compile`` compiles when it is first called with a shape.

    The model itself stays as it is: parameters keep their names, checkpoints hold no trace of it, and validation runs
    it uncompiled. Each batch shape is compiled for itself (``dynamic=False``), because what a step computes must not
    depend on the shapes before it, or a resumed run would give other bits. Dropout and stochastic depth draw other
    numbers than uncompiled, from the same seed.

    Raises:
        ConfigError: Nothing can be compiled on this machine.
    """
    check_compiler(device, backend)
    compiled: Forward = torch.compile(model, dynamic=False, backend=backend)
    return compiled


def check_compiler(device: torch.device, backend: str = "inductor") -> None:
    """Compile a small function, as the training step will be compiled.

    Raises:
        ConfigError: It fails; the message names what is usually missing.
    """
    try:
        torch.compile(lambda x: x.sin() + 1, backend=backend)(torch.ones(8, device=device))
    except (RuntimeError, OSError) as error:
        # The first lines are the compiler's own; below them come hints for those who debug it.
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])[:200]
        missing = "a C++ compiler (g++, or what CXX names)" if device.type == "cpu" else "Triton and a C compiler"
        raise ConfigError(
            f"training.compile needs {missing} on this machine ({reason}); install it, or set training.compile to false"
        ) from None
