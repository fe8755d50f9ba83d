"""What training will cost before it begins: multiply-adds and memory of a step, from shapes alone.

Nothing is computed: tensors without content pass through the model (torch's meta and fake tensors), so that the
largest models take seconds on any machine. Weights, gradients and optimizer state follow from the parameters; kept
activations are those that autograd saves in a forward pass, in the precision of the run. What is only there for a
moment (the largest gradient of an activation, workspaces, fragmentation) is not counted. A process on a CPU, which
keeps freed blocks for itself, takes more than it has in use, with gradient checkpointing up to twice as much:
benchmarks/training_memory.py measures both against the estimate. On a GPU it has not been measured.

    C, T, H, W  channels, frames and pixels of a clip
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tubelet.session.device import autocast
from tubelet.training.gradient_checkpointing import find_blocks
from tubelet.training.optim.config import OptimizerConfig
from tubelet.types import Precision

ClipShape = tuple[int, int, int, int]  # channels, frames, height, width


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes that a training step keeps on its device, of several processes each on its own."""

    weights: int  # and buffers; of a model in shards, the share of a process
    gradients: int  # likewise
    optimizer: int  # its moments, likewise
    average: int  # of the weights (``training.ema_decay``)
    activations: int  # kept from the forward pass for the backward pass; computed again: the inside of one block
    clips: int  # as uint8 and as floats
    num_clips: int  # that are computed at once; the rest of a batch waits in the memory of the host

    @property
    def total(self) -> int:
        state = self.weights + self.gradients + self.optimizer + self.average
        return state + self.activations + self.clips


@dataclass(frozen=True, kw_only=True)
class StateBytes:
    """Bytes of what a whole model is trained with."""

    weights: int  # and buffers
    gradients: int
    optimizer: int  # its moments


def count_state(model: nn.Module, optim: OptimizerConfig) -> StateBytes:
    """From the shapes of parameters and buffers; ``optim`` says how many moments a trained parameter has."""
    parameters = list(model.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    return StateBytes(
        weights=sum(t.numel() * t.element_size() for t in [*parameters, *model.buffers()]),
        gradients=trained,
        optimizer=trained * (2 if optim.name == "adamw" else int(optim.momentum > 0)),
    )


def count_training_macs(model: nn.Module, clip_shape: ClipShape) -> int:
    """Multiply-adds of matrix products and convolutions for one clip, forward and backward as far as it goes."""
    shapes = _empty_like(model, torch.device("meta"))
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # MATH: attention as its two products
        _forward(model, shapes, torch.empty(1, *clip_shape, device="meta")).sum().backward()
    return int(counter.get_total_flops()) // 2


def estimate_memory(
    model: nn.Module,
    clip_shape: ClipShape,
    *,
    batch_size: int,
    accumulation: int,
    precision: Precision,
    optim: OptimizerConfig,
    device: torch.device,
    gradient_checkpointing: bool = False,
    num_processes: int = 1,
    is_sharded: bool = False,
    has_average: bool = False,
) -> MemoryEstimate:
    """What a training step keeps on the device of each process.

    Args:
        model: in training mode, frozen parts in evaluation mode; on whatever device, with or without content.
        clip_shape: of one clip (C, T, H, W).
        batch_size: clips of one optimizer step.
        accumulation: parts that the batch is computed in.
        precision: of the forward pass.
        optim: how many moments a trained parameter has.
        device: that the run will use, which decides the kernels and so what they keep.
        gradient_checkpointing: of blocks only what enters is kept, and the inside of the largest while its gradient
            is computed.
        num_processes: that share out the clips of a step.
        is_sharded: weights, gradients and moments lie in shards on them; the block that is whole for the moment is
            not counted.
        has_average: of the weights, beside them.
    """
    state = count_state(model, optim)
    shards = num_processes if is_sharded else 1
    num_clips = math.ceil(math.ceil(batch_size / num_processes) / accumulation)
    blocks = tuple(find_blocks(model).values()) if gradient_checkpointing else ()
    kept = [_saved_bytes(model, clip_shape, number, precision, device, blocks) for number in (1, 2)]
    pixels = clip_shape[0] * clip_shape[1] * clip_shape[2] * clip_shape[3]
    return MemoryEstimate(
        weights=math.ceil(state.weights / shards),
        gradients=math.ceil(state.gradients / shards),
        optimizer=math.ceil(state.optimizer / shards),
        average=state.weights if has_average else 0,
        activations=kept[0] + (num_clips - 1) * (kept[1] - kept[0]),
        clips=(1 + 4) * pixels * num_clips,
        num_clips=num_clips,
    )


def _saved_bytes(
    model: nn.Module,
    clip_shape: ClipShape,
    num_clips: int,
    precision: Precision,
    device: torch.device,
    blocks: tuple[nn.Module, ...],
) -> int:
    """Bytes that autograd keeps of a forward pass, each storage once, without the parameters themselves.

    Of ``blocks``, which are computed again, it keeps what enters them, and the inside of the largest.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        tensors = _empty_like(model, device)
        own = {tensor.untyped_storage()._cdata for tensor in tensors.values()}
        storages: dict[int, Any] = {}  # holds them, so that no two are given one address

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                storages[storage._cdata] = storage
            return tensor

        clips = torch.empty(num_clips, *clip_shape, device=device)
        own.add(clips.untyped_storage()._cdata)
        with (
            saved_tensors_hooks(keep, lambda tensor: tensor),
            autocast(device, precision),
            _taking_apart(blocks, storages, keep) as inside,
        ):
            logits = _forward(model, tensors, clips)
        del logits
        largest = max((_nbytes(block) for block in inside), default=0)
        return _nbytes(storages) + largest


@contextmanager
def _taking_apart(
    blocks: tuple[nn.Module, ...], storages: dict[int, Any], keep: Callable[[Tensor], Tensor]
) -> Iterator[list[dict[int, Any]]]:
    """While ``storages`` fill up, move what is saved inside each block to a list, and keep what enters it."""
    inside: list[dict[int, Any]] = []
    before: set[int] = set()

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                keep(value)
        before.clear()
        before.update(storages)

    def leave(*_: object) -> None:
        inside.append({key: storages.pop(key) for key in storages.keys() - before})

    handles = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    handles += [block.register_forward_hook(leave) for block in blocks]
    try:
        yield inside
    finally:
        for handle in handles:
            handle.remove()


def _nbytes(storages: dict[int, Any]) -> int:
    return sum(storage.nbytes() for storage in storages.values())


def _empty_like(model: nn.Module, device: torch.device) -> dict[str, Tensor]:
    return {
        name: torch.empty(t.shape, dtype=t.dtype, device=device, requires_grad=t.requires_grad)
        for name, t in [*model.named_parameters(), *model.named_buffers()]
    }


def _forward(model: nn.Module, tensors: dict[str, Tensor], clips: Tensor) -> Tensor:
    logits: Tensor = functional_call(model, tensors, (clips,))
    return logits
