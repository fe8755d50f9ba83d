"""No encoder over time: the vectors of the frames are averaged, with or without how much each channel varies.

It is blind to the order of frames. Probes on few clips use it, and it is what an encoder over time has to beat.

    B  videos   T  frames   D  width of a frame's vector
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FramePool(nn.Module):
    """Mean over the frames that are valid; with ``deviation`` also the standard deviation of every channel behind it.

    The deviation divides by the number of frames; of one frame it is zero.
    """

    def __init__(self, deviation: bool) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """The mean, then the frames as they are."""
        return torch.cat([self._mean(x, valid)[:, None], x], dim=1)

    def class_token(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D2"]:
        """The vector of the video, D or 2 D wide."""
        mean = self._mean(x, valid)  # B D
        if not self.deviation:
            return mean
        variance = self._mean((x - mean[:, None]).square(), valid)  # B D
        return torch.cat([mean, variance.sqrt()], dim=-1)  # B 2D

    def _mean(self, x: Float[Tensor, "B T D"], valid: Bool[Tensor, "B T"] | None) -> Float[Tensor, "B D"]:
        if valid is None:
            return x.mean(1)
        return (x * valid.unsqueeze(-1)).sum(1) / valid.sum(1, keepdim=True)
