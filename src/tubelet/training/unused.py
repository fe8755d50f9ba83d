"""Parameters that train and that the logits do not depend on, found by shapes alone.

DDP must be told whether there are any (VTN's last layer has some, for rows that nobody reads): it waits for the
gradients of all others, looks for these in every step where it is told so, and warns on every process where there are
none.

    B, C, T, H, W  two clips, as the model's configuration says
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_CLIPS = 2  # BatchNorm takes no statistics of a single value


def unused_parameters(model: nn.Module) -> list[str] | None:
    """Their names; None for a model that has no configuration of tubelet's, of which it is not known."""
    config = getattr(model, "config", None)
    fields: list[Any] = [getattr(config, name, None) for name in ("in_channels", "num_frames", "image_size")]
    if None in fields:
        return None
    channels, num_frames, (height, width) = fields
    dtype = next(model.parameters()).dtype
    clips = torch.empty(_CLIPS, channels, num_frames, height, width, device="meta", dtype=dtype)  # B C T H W
    shapes = _without_content(model)
    trained = {name: parameter for name, parameter in shapes.named_parameters() if parameter.requires_grad}
    if not trained:
        return []
    gradients = torch.autograd.grad(shapes(clips).sum(), list(trained.values()), allow_unused=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]


def _without_content(model: nn.Module) -> nn.Module:
    """A copy on the meta device. Not ``functional_call``: blocks that are computed again are so after it has ended."""
    known: dict[int, Tensor] = {}  # what a deep copy takes as copied already
    for parameter in model.parameters():
        shape = torch.empty_like(parameter, device="meta")
        known[id(parameter)] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
    known |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()}
    return copy.deepcopy(model, known)
