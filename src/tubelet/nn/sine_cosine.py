"""A fixed table of sines and cosines over the index of a token, whatever grid the tokens lie on.

Source: "Attention Is All You Need" (arXiv 1706.03762) section 3.5, as VideoMAE uses it: MCG-NJU/VideoMAE, commit
14ef8d85, ``modeling_finetune.py``. The index counts tokens in the order time, row, column, so that the row of a token
depends on how many tokens are in front of it: another grid gives a token another row.
"""

from __future__ import annotations

import logging
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.nn.position import resize_positions
from tubelet.nn.table_in_time import linear_in_time
from tubelet.types import Grid

log = logging.getLogger(__name__)

# For another grid: computed as the originals do, or interpolated from that of the trained grid.
OtherGrid = Literal["computed", "interpolated"]


class SineCosineTable(nn.Module):
    """One row per token of ``grid`` (n_t, n_h, n_w). It has no parameters and stands in no state dict.

    Args:
        grid: that the weights were trained on.
        other_grid: what another grid gets, which is logged once. "computed": the rows 0 to N - 1 of its own length,
            which weights trained on ``grid`` have not seen at these places. "interpolated": the table of ``grid``,
            resized in space and time.
    """

    table: Tensor

    def __init__(self, grid: Grid, embed_dim: int, other_grid: OtherGrid = "computed") -> None:
        super().__init__()
        self.grid, self.embed_dim, self.other_grid = grid, embed_dim, other_grid
        self.register_buffer("table", sine_cosine(math.prod(grid), embed_dim), persistent=False)
        self._logged: set[Grid] = set()

    def forward(self, grid: Grid) -> Float[Tensor, "N D"]:
        """The rows for ``grid``. While a graph is traced, n_t may be a symbol."""
        if torch.compiler.is_exporting():
            return self.at_times(grid)
        if grid == self.grid:
            return self.table
        if grid not in self._logged:
            made_for, asked = "x".join(map(str, self.grid)), "x".join(map(str, grid))
            unseen = ", which the weights were not trained with" if self.other_grid == "computed" else ""
            log.info("sine-cosine table of grid %s %s for %s%s", made_for, self.other_grid, asked, unseen)
            self._logged.add(grid)
        if self.other_grid == "interpolated":
            return resize_positions(self.table, self.grid, grid, 0)
        return sine_cosine(math.prod(grid), self.embed_dim).to(self.table)

    @torch.no_grad()
    def fit_(self, grid: Grid) -> None:
        """Make this a table of the places of ``grid``, where it is interpolated. Its time indices stay."""
        places = (self.grid[0], *grid[1:])
        if self.other_grid == "interpolated" and places != self.grid:
            self.table, self.grid = resize_positions(self.table, self.grid, places, 0), places

    def at_times(self, grid: Grid) -> Float[Tensor, "N D"]:
        """The rows for ``grid``, as an exported graph computes them."""
        if isinstance(grid[0], int) and grid == self.grid:
            return self.table
        if self.other_grid == "interpolated":
            return linear_in_time(self.table.unflatten(0, (self.grid[0], -1)), grid[0]).flatten(0, 1)
        return sine_cosine(math.prod(grid), self.embed_dim).to(self.table)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, other_grid={self.other_grid}"


def sine_cosine(num_rows: int, embed_dim: int) -> Float[Tensor, "N D"]:
    """Row p, channel 2i: sin(p / 10000^(2i/D)); channel 2i + 1: the cosine of the same angle. Computed in float64."""
    channel = torch.arange(embed_dim, dtype=torch.float64)
    frequency = 10000.0 ** (-2 * (channel // 2) / embed_dim)  # D
    angle = torch.arange(num_rows, dtype=torch.float64)[:, None] * frequency  # N D
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()
