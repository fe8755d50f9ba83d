"""``torch.compile`` of the forward and backward pass of a training step.

The model itself is left as it is: parameters keep their names, checkpoints hold no trace of it, and validation and
whatever comes after training run the model uncompiled. Each batch shape is compiled for itself (``dynamic=False``), so
that what a step computes does not depend on the shapes that came before it, and a run that goes on gives the same bits.
Dropout and stochastic depth draw other numbers than uncompiled, from the same seed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tubelet.errors import ConfigError

Forward = Callable[..., Tensor]  # of the model's inputs


def compile_forward(model: nn.Module, device: torch.device, backend: str = "inductor") -> Forward:
    """The model as a function that is compiled when it is first called with a shape.

    Raises:
        ConfigError: nothing can be compiled on this machine.
    """
    check_compiler(device, backend)
    compiled: Forward = torch.compile(model, dynamic=False, backend=backend)
    return compiled


def check_compiler(device: torch.device, backend: str = "inductor") -> None:
    """Compile a small function, as the training step will be compiled.

    Raises:
        ConfigError: it fails, with what is usually missing.
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
