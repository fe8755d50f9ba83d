"""Position tables. A learned table is interpolated when a clip has another grid than the table.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py`` (``AddPositionEmbs``) and
``projects/vivit/model_utils.py`` (interpolation with aligned end points).
"""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.nn.table_in_time import antialiased_in_time, linear_in_time, nearest_in_time
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
        """Return the rows for ``grid``: the table, or its interpolation, which is logged once per grid.

        While a graph is traced, the places must be those of the table (``fit_``), and n_t may be a symbol.
        """
        if torch.compiler.is_exporting():
            return self.at_times(grid[0])
        if grid == self.grid:
            return self.table
        if grid not in self._logged:
            log.info("position table of grid %s resized to %s", "x".join(map(str, self.grid)), "x".join(map(str, grid)))
            self._logged.add(grid)
        return self.resized(grid)

    def resized(self, grid: Grid) -> Float[Tensor, "rows D"]:
        """Return the rows for another grid than that of the table."""
        return resize_positions(self.table, self.grid, grid, self.num_prefix)

    @torch.no_grad()
    def fit_(self, grid: Grid) -> None:
        """Make this a table of the places of ``grid``. Its time indices stay."""
        places = (self.grid[0], *grid[1:])
        if places != self.grid:
            self.table, self.grid = nn.Parameter(self.resized(places)), places

    def at_times(self, n_t: int) -> Float[Tensor, "rows D"]:
        """Return the rows of all places for ``n_t`` time indices, as an exported graph computes them."""
        if isinstance(n_t, int) and n_t == self.grid[0]:
            return self.table
        prefix, rows = self.table[: self.num_prefix], self.table[self.num_prefix :]
        rows = self.over_time(rows.unflatten(0, (self.grid[0], -1)), n_t)  # n_t S D
        return torch.cat([prefix, rows.flatten(0, 1)])

    def over_time(self, rows: Float[Tensor, "T S D"], n_t: int) -> Float[Tensor, "n_t S D"]:
        """What ``resized`` does along time."""
        return linear_in_time(rows, n_t)

    def for_valid(self, valid: Bool[Tensor, "*lead T"]) -> Float[Tensor, "*lead rows D"]:
        """Return the rows of a table over time for a padded batch. Each video gets the rows it would get alone.

        ``valid`` is False at padding, whose rows are zero.
        """
        tables = []
        lengths = valid.flatten(0, -2).sum(-1).tolist()
        of_length = {length: self((length, 1, 1)) for length in set(lengths)}
        for is_frame, length in zip(valid.flatten(0, -2), lengths, strict=True):
            table = of_length[length]
            rows = table.new_zeros(len(is_frame), table.shape[1])
            rows[is_frame] = table[self.num_prefix :]
            tables.append(torch.cat([table[: self.num_prefix], rows]))
        return torch.stack(tables).unflatten(0, valid.shape[:-1])

    def extra_repr(self) -> str:
        return f"grid={self.grid}, num_prefix={self.num_prefix}"


def resize_positions(
    table: Float[Tensor, "rows D"], old: Grid, new: Grid, num_prefix: int
) -> Float[Tensor, "new_rows D"]:
    """Resize a position table to another grid: bilinear in space for each time index, then linear in time.

    End points stay aligned, as in the original. Prefix rows (class token) are kept. Axes are resized one after the
    other, so that a change of one axis leaves the others untouched.
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


class NearestPositionTable(PositionTable):
    """A table that repeats or drops rows for another grid instead of interpolating them.

    Source: facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py`` (``forward_features``).
    """

    def resized(self, grid: Grid) -> Float[Tensor, "rows D"]:
        return nearest_positions(self.table, self.grid, grid, self.num_prefix)

    def over_time(self, rows: Float[Tensor, "T S D"], n_t: int) -> Float[Tensor, "n_t S D"]:
        return nearest_in_time(rows, n_t)


def nearest_positions(
    table: Float[Tensor, "rows D"], old: Grid, new: Grid, num_prefix: int
) -> Float[Tensor, "new_rows D"]:
    """Resize a position table: each row is that of the nearest cell (the lower one) of the old grid."""
    prefix, rows = table[:num_prefix], table[num_prefix:]
    volume = rearrange(rows, "(t h w) d -> 1 d t h w", t=old[0], h=old[1], w=old[2])
    volume = F.interpolate(volume, size=new, mode="nearest")
    return torch.cat([prefix, rearrange(volume, "1 d t h w -> (t h w) d")])


class AntialiasedPositionTable(PositionTable):
    """A table over space or over time that is resized bilinearly, with antialiasing where it becomes smaller.

    Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/encoders.py`` (``jax.image.resize``).
    """

    def resized(self, grid: Grid) -> Float[Tensor, "rows D"]:
        return antialiased_positions(self.table, self.grid, grid)

    def over_time(self, rows: Float[Tensor, "T S D"], n_t: int) -> Float[Tensor, "n_t S D"]:
        return antialiased_in_time(rows, n_t)


def antialiased_positions(table: Float[Tensor, "rows D"], old: Grid, new: Grid) -> Float[Tensor, "new_rows D"]:
    """Resize a position table along each axis whose number of tokens changes. End points are not aligned."""
    x = rearrange(table, "(t h w) d -> d t h w", t=old[0], h=old[1], w=old[2])
    for axis in (1, 2, 3):
        if old[axis - 1] != new[axis - 1]:
            # An axis is the width of a map of one row: torch resizes maps that are one token wide wrongly.
            lines = x.movedim(axis, -1).flatten(0, 2)[None, :, None]  # 1 lines 1 n
            lines = F.interpolate(lines, size=(1, new[axis - 1]), mode="bilinear", antialias=True)
            x = lines.reshape(*x.movedim(axis, -1).shape[:-1], -1).movedim(-1, axis)
    return rearrange(x, "d t h w -> (t h w) d")


class FramePositionTable(nn.Module):
    """One learned row per frame number, for a sequence of frames behind a class token (VTN).

    The last two of P rows belong to the class token and to padding. Frame numbers wrap at P - 2, so that a video of
    any length has rows. Source: bomri/SlowFast, commit 00a68201, ``slowfast/models/vtn_helper.py``.
    """

    def __init__(self, num_positions: int, embed_dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(num_positions, embed_dim))
        nn.init.normal_(self.table, std=0.02)
        with torch.no_grad():
            self.table[-1] = 0.0

    def of_frames(self, position: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return F.embedding(position % (self.table.shape[0] - 2), self.table)

    def of_class_token(self) -> Float[Tensor, " D"]:
        return self.table[-2]


class FixedFramePositions(nn.Module):
    """Sine and cosine of the frame number, at frequencies from 1 to 1/10000; the class token has none."""

    frequency: Tensor

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        half = -(-embed_dim // 2)
        self.embed_dim = embed_dim
        self.register_buffer("frequency", 10000.0 ** (-torch.arange(half) / half), persistent=False)

    def of_frames(self, position: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        angle = position.unsqueeze(-1) * self.frequency  # B T D/2
        return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., : self.embed_dim]

    def of_class_token(self) -> Float[Tensor, " D"]:
        return self.frequency.new_zeros(self.embed_dim)


class NoFramePositions(nn.Module):
    """No positions. The encoder sees order only through the window of its attention."""

    def of_frames(self, position: Int[Tensor, "B T"]) -> float:
        return 0.0

    def of_class_token(self) -> float:
        return 0.0
