"""Position tables made for one height and width, so that a graph traced from the model resizes nothing.

A module whose table depends on the grid of patches has ``fit_``, which takes the arguments of its ``forward``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def fit_tables_(model: nn.Module, *inputs: Tensor) -> None:
    """Resize every table of ``model`` in place for clips as large as that of ``inputs``; time stays as it is."""

    def fit(module: Any, arguments: tuple[Any, ...]) -> None:
        module.fit_(*arguments)

    hooks = [m.register_forward_pre_hook(fit) for m in model.modules() if hasattr(m, "fit_")]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
