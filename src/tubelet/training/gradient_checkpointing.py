"""Gradient checkpointing: the backward pass computes each block again, in place of keeping what is inside it.

"Training Deep Nets with Sublinear Memory Cost" (Chen et al., arXiv 1604.06174), by ``torch.utils.checkpoint``. Of every
block only what enters it is kept; a training step takes about a third more multiply-adds and gives the same gradients,
bit by bit: dropout and stochastic depth are drawn again as before, and running statistics of BatchNorm count once.

Blocks are those that layer-wise learning rates know too (``tubelet.nn.head.layer_pattern``), so that this works for
every model and names none. Parameters keep their names, and a copy of the model is a model of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tubelet.errors import ConfigError
from tubelet.nn.head import layer_pattern


def find_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a model by name: the outermost modules whose parameters ``layer_pattern`` counts as one layer."""
    pattern = re.compile(layer_pattern(model))
    found = (pattern.match(name) for name, _ in model.named_parameters())
    names = dict.fromkeys(match[0].removesuffix(".") for match in found if match is not None)
    return {name: model.get_submodule(name) for name in names}


def required_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """``find_blocks``. Raises ConfigError when the model has none."""
    if blocks := find_blocks(model):
        return blocks
    raise ConfigError(f"training.gradient_checkpointing: {type(model).__name__} has no blocks; leave it out")


def checkpoint_blocks(model: nn.Module) -> None:
    """Let every block of the model be computed again in the backward pass.

    Raises:
        ConfigError: the model has no blocks.
    """
    for block in required_blocks(model).values():
        if not isinstance(block.forward, _Recomputed):
            block.forward = _Recomputed(block)


class _Recomputed:
    """The forward of a block, computed again when its gradient is asked for.

    An object and not a function: a deep copy of the model copies it with its block.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block, self.forward = block, block.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        options: dict[str, Any] = {}
        # A compiled graph changes buffers once, whatever it computes twice.
        if not torch.compiler.is_compiling() and any(True for _ in self.block.buffers()):
            options["context_fn"] = self._contexts
        return checkpoint(self.forward, *args, use_reentrant=False, **options, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Of the first computation and of the second."""
        return nullcontext(), _buffers_as_they_were(self.block)


@contextmanager
def _buffers_as_they_were(block: nn.Module) -> Iterator[None]:
    """What is computed inside works on copies of the buffers."""
    kept = [(owner, name, buffer) for owner in block.modules() for name, buffer in owner.named_buffers(recurse=False)]
    try:
        for owner, name, buffer in kept:
            setattr(owner, name, buffer.clone())
        yield
    finally:
        for owner, name, buffer in kept:
            setattr(owner, name, buffer)
