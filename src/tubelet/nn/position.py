"""Learned position tables that follow the clip: another grid than the one they were made for is interpolated.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py`` (``AddPositionEmbs``) and
``projects/vivit/model_utils.py`` (interpolation with aligned end points).
"""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.types import Grid

log = logging.getLogger(__name__)


class PositionTable(nn.Module):
    """One learned row per token of ``grid`` (n_t, n_h, n_w), after ``num_prefix`` rows for class tokens.

    A table over space alone has n_t = 1, one over time alone n_h = n_w = 1.
    """

    def __init__(self, grid: Grid, embed_dim: int, num_prefix: int) -> None:
        super().__init__()
        self.grid = grid
        self.num_prefix = num_prefix
        self.table = nn.Parameter(torch.empty(num_prefix + math.prod(grid), embed_dim))
        nn.init.normal_(self.table, std=0.02)
        self._logged: set[Grid] = set()

    def forward(self, grid: Grid) -> Float[Tensor, "rows D"]:
        """The rows for ``grid``: the table itself, or its interpolation, which is logged once per grid."""
        if grid == self.grid:
            return self.table
        if grid not in self._logged:
            log.info("position table of grid %s resized to %s", "x".join(map(str, self.grid)), "x".join(map(str, grid)))
            self._logged.add(grid)
        return resize_positions(self.table, self.grid, grid, self.num_prefix)

    def for_valid(self, valid: Bool[Tensor, "B T"]) -> Float[Tensor, "B rows D"]:
        """The rows of a table over time for a padded batch: each video gets those it would get alone.

        ``valid`` is False at padding, whose rows are zero.
        """
        tables = []
        for places in valid:
            table = self((int(places.sum()), 1, 1))
            rows = table.new_zeros(len(places), table.shape[1])
            rows[places] = table[self.num_prefix :]
            tables.append(torch.cat([table[: self.num_prefix], rows]))
        return torch.stack(tables)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, num_prefix={self.num_prefix}"


def resize_positions(
    table: Float[Tensor, "rows D"], old: Grid, new: Grid, num_prefix: int
) -> Float[Tensor, "new_rows D"]:
    """A position table for another grid: bilinear in space for each time index, then linear in time.

    End points stay aligned, as in the original; prefix rows (class token) are kept. Axes are resized one after
    the other, so that a change of one axis leaves the others untouched.
    """
    prefix, rows = table[:num_prefix], table[num_prefix:]
    (old_t, old_h, old_w), (new_t, new_h, new_w) = old, new
    if (old_h, old_w) != (new_h, new_w):
        maps = rearrange(rows, "(t h w) d -> t d h w", t=old_t, h=old_h, w=old_w)
        maps = F.interpolate(maps, size=(new_h, new_w), mode="bilinear", align_corners=True)
        rows = rearrange(maps, "t d h w -> (t h w) d")
    if old_t != new_t:
        lines = rearrange(rows, "(t s) d -> s d t", t=old_t)
        lines = F.interpolate(lines, size=new_t, mode="linear", align_corners=True)
        rows = rearrange(lines, "s d t -> (t s) d")
    return torch.cat([prefix, rows])
