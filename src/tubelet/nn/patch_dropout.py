"""Patch dropout: training sees a random part of the spatial positions of a video, evaluation sees all of them.

Source: "PatchDropout" (Liu et al., arXiv 2208.07220) and timm's ``PatchDropout``. Videos drop
whole tubes: a spatial position stays at all time indices or at none, so that attention over time and the grid of the
factorized models keep every time index. Tokens are not rescaled, because attention and a mean or maximum over tokens
do not depend on their number.

    B  videos   T  time indices   S  spatial positions, the tokens of one time index   N = T S  tokens   D  width
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.types import Grid


class PatchDropout(nn.Module):
    """Keeps ``num_prefix`` tokens in front and, in training, ``1 - rate`` of the spatial positions (at least one).

    Each video draws its own positions; axes between the first and the tokens share them. Draws come from torch's
    generator, like those of dropout.
    """

    def __init__(self, rate: float, num_prefix: int) -> None:
        super().__init__()
        self.rate = rate
        self.num_prefix = num_prefix

    def forward(self, x: Float[Tensor, "B *lead N D"], grid: Grid) -> Float[Tensor, "B *lead N_kept D"]:
        """``grid`` is (n_t, n_h, n_w) of the tokens behind the prefix."""
        if not self.training or not self.rate:
            return x
        times, positions = grid[0], grid[1] * grid[2]
        number = max(1, round(positions * (1 - self.rate)))
        kept = torch.rand(len(x), positions, device=x.device).argsort(-1)[:, :number].sort(-1).values  # B S_kept
        starts = torch.arange(times, device=x.device) * positions  # T
        index = self.num_prefix + (starts[:, None] + kept[:, None]).flatten(1)  # B T*S_kept
        index = torch.cat([torch.arange(self.num_prefix, device=x.device).expand(len(x), -1), index], dim=1)  # B N_kept
        index = index.view(len(x), *[1] * (x.ndim - 3), -1, 1).expand(*x.shape[:-2], -1, x.shape[-1])
        return x.gather(-2, index)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
