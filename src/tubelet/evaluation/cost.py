"""What a model costs: parameters, multiply-adds, latency and peak memory.

Multiply-adds (MACs) are those of matrix products and convolutions, counted by torch's flop counter, which counts two
operations for each; normalizations, activations, biases and softmax are not counted, as in the papers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ClipShape = tuple[int, int, int, int]  # channels, frames, height, width


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds of one forward pass over a batch, over all repetitions."""

    median_seconds: float
    fastest_seconds: float
    slowest_seconds: float
    repetitions: int


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; one that is shared counts once, buffers do not count."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, clip_shape: ClipShape) -> int:
    """Multiply-adds of one forward pass over one clip (C, T, H, W), as at test time.

    Nothing is computed and no memory is used, whatever the size: only shapes pass through the model, which may live
    on the meta device (``with torch.device("meta"): create_model(...)``) or hold weights, and is left as it was.
    """
    shapes = {name: t.detach().to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
    clip = torch.empty(1, *clip_shape, device="meta")
    counter = FlopCounterMode(display=False)
    with _at_test_time(model), counter, sdpa_kernel(SDPBackend.MATH):  # MATH: attention as its two products
        functional_call(model, shapes, (clip,))
    return int(counter.get_total_flops()) // 2


def measure_latency(
    model: nn.Module, clip: Float[Tensor, "B C T H W"], repetitions: int = 10, warmup: int = 2
) -> Latency:
    """Time of a forward pass at test time on the device of ``clip``, where the model must be too.

    The first ``warmup`` passes are not timed. Raises ValueError for fewer than one repetition.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1, got {repetitions}")
    synchronize = _synchronizer(clip.device)
    seconds = []
    with _at_test_time(model):
        for i in range(warmup + repetitions):
            synchronize()
            start = time.perf_counter()
            model(clip)
            synchronize()
            if i >= warmup:
                seconds.append(time.perf_counter() - start)
    return Latency(
        median_seconds=statistics.median(seconds),
        fastest_seconds=min(seconds),
        slowest_seconds=max(seconds),
        repetitions=repetitions,
    )


def peak_memory_bytes(device: torch.device) -> int | None:
    """The most memory held so far: by tensors on a CUDA device, or by this whole process on the CPU.

    None where the platform does not keep it (Windows, MPS).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def _at_test_time(model: nn.Module) -> ExitStack:
    """Evaluation mode without gradients; the mode the model was in comes back afterwards."""
    stack = ExitStack()
    for module in model.modules():
        stack.callback(setattr, module, "training", module.training)
    model.eval()
    stack.enter_context(torch.inference_mode())
    return stack


def _synchronizer(device: torch.device) -> Callable[[], None]:
    """What waits until a device has done its work; the CPU always has."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None
