"""What stands for "nothing there" in a clip: its mean color, or the clip blurred.

Neither is a clip that a model was trained on. A mean color has edges where it meets the picture; a blur keeps the color
and the coarse motion of what it hides. An explanation says which one it used.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.explain.config import Fill

_BLUR = 1 / 8  # standard deviation of the blur, as a share of the shorter side


def filled(clip: Float[Tensor, "C T H W"], fill: Fill) -> Float[Tensor, "C T H W"]:
    """The clip with nothing in it: the mean of every channel over the clip, or every frame blurred."""
    if fill == "mean":
        return clip.mean((1, 2, 3), keepdim=True).expand_as(clip)
    return _blurred(_blurred(clip, -1), -2)


def _blurred(clip: Float[Tensor, "C T H W"], axis: int) -> Float[Tensor, "C T H W"]:
    """A Gaussian along one axis, whose weights are scaled to one at the edge."""
    length, sigma = clip.shape[axis], max(1.0, _BLUR * min(clip.shape[-2:]))
    radius = min(length - 1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=clip.device, dtype=clip.dtype)
    kernel = (-0.5 * (offsets / sigma).square()).exp().view(1, 1, -1)  # 1 1 taps
    lines = clip.movedim(axis, -1)  # C T other axis
    flat = lines.reshape(-1, 1, length)
    weights = F.conv1d(torch.ones_like(flat[:1]), kernel, padding=radius)  # 1 1 axis
    return (F.conv1d(flat, kernel, padding=radius) / weights).view(lines.shape).movedim(-1, axis)
