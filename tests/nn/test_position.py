"""Position tables on their own grid and on others."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from tubelet.nn.position import NearestPositionTable, PositionTable, resize_positions
from tubelet.types import Grid

OLD: Grid = (3, 4, 5)
WIDTH = 6


def table_of(grid: Grid, num_prefix: int = 0) -> Tensor:
    return torch.randn(num_prefix + grid[0] * grid[1] * grid[2], WIDTH, dtype=torch.float64)


def as_grid(table: Tensor, grid: Grid) -> Tensor:
    return table.unflatten(0, grid)  # t h w D


def test_own_grid_gives_the_table_itself() -> None:
    positions = PositionTable(OLD, WIDTH, num_prefix=1)
    assert positions(OLD) is positions.table


def test_table_starts_normal_with_std_0_02() -> None:
    assert PositionTable((8, 14, 14), 64, num_prefix=1).table.std().item() == pytest.approx(0.02, rel=0.02)


def test_resizing_to_the_same_grid_changes_nothing() -> None:
    table = table_of(OLD, num_prefix=1)
    assert torch.equal(resize_positions(table, OLD, OLD, num_prefix=1), table)


def test_another_grid_is_logged_once_and_the_own_grid_never(caplog: pytest.LogCaptureFixture) -> None:
    positions = PositionTable(OLD, WIDTH, num_prefix=0)
    with caplog.at_level(logging.INFO, logger="tubelet"):
        for grid in (OLD, (6, 4, 5), (6, 4, 5), OLD, (3, 8, 8), (6, 4, 5)):
            positions(grid)
    assert [r.getMessage() for r in caplog.records] == [
        "position table of grid 3x4x5 resized to 6x4x5",
        "position table of grid 3x4x5 resized to 3x8x8",
    ]


@pytest.mark.parametrize("new", [(3, 4, 5), (7, 4, 5), (3, 9, 2), (5, 2, 11), (1, 1, 1), (6, 8, 10)])
def test_prefix_rows_are_kept_and_the_rest_fits_the_grid(new: Grid) -> None:
    table = table_of(OLD, num_prefix=2)
    resized = resize_positions(table, OLD, new, num_prefix=2)
    assert resized.shape == (2 + new[0] * new[1] * new[2], WIDTH)
    assert torch.equal(resized[:2], table[:2])


def test_space_is_resized_for_each_time_index_on_its_own() -> None:
    table = table_of(OLD)
    resized = as_grid(resize_positions(table, OLD, (3, 7, 9), 0), (3, 7, 9))
    for t, frame in enumerate(as_grid(table, OLD)):
        alone = resize_positions(frame.flatten(0, 1), (1, 4, 5), (1, 7, 9), 0)
        torch.testing.assert_close(resized[t].flatten(0, 1), alone)


def test_time_is_resized_at_each_place_on_its_own() -> None:
    table = table_of(OLD)
    changed = as_grid(table.clone(), OLD)
    changed[:, 2, 3] += 1
    before = as_grid(resize_positions(table, OLD, (8, 4, 5), 0), (8, 4, 5))
    after = as_grid(resize_positions(changed.flatten(0, 2), OLD, (8, 4, 5), 0), (8, 4, 5))
    moved = (before != after).any(-1).any(0)
    assert moved.nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize("new", [(9, 4, 5), (3, 11, 7), (2, 2, 2), (9, 11, 7)])
def test_a_constant_table_stays_constant(new: Grid) -> None:
    constant = torch.randn(WIDTH, dtype=torch.float64)
    resized = resize_positions(constant.expand(3 * 4 * 5, WIDTH), OLD, new, 0)
    torch.testing.assert_close(resized, constant.expand(len(resized), WIDTH))


@pytest.mark.parametrize("new", [(9, 4, 5), (3, 11, 7), (2, 2, 2), (9, 11, 7)])
def test_end_points_are_kept(new: Grid) -> None:
    table = table_of(OLD)
    corners = [torch.tensor([0, -1])] * 3
    old_corners = as_grid(table, OLD)[torch.meshgrid(*corners, indexing="ij")]
    new_corners = as_grid(resize_positions(table, OLD, new, 0), new)[torch.meshgrid(*corners, indexing="ij")]
    torch.testing.assert_close(new_corners, old_corners)


def test_time_is_linear_between_trained_indices() -> None:
    table = table_of((2, 1, 1))
    resized = resize_positions(table, (2, 1, 1), (5, 1, 1), 0)
    for i, row in enumerate(resized):
        torch.testing.assert_close(row, torch.lerp(table[0], table[1], i / 4))


def test_each_row_of_a_padded_batch_gets_the_positions_of_its_own_length() -> None:
    positions = PositionTable((4, 1, 1), WIDTH, num_prefix=1)
    valid = torch.tensor([[True] * 4, [True] * 3 + [False], [True] + [False] * 3])
    rows = positions.for_valid(valid)
    assert torch.equal(rows[0], positions.table)
    for i, length in enumerate((4, 3, 1)):
        assert torch.equal(rows[i, : 1 + length], positions((length, 1, 1)))
        assert not rows[i, 1 + length :].any()


@pytest.mark.parametrize("new", [(3, 4, 5), (1, 4, 5), (7, 4, 5), (3, 8, 10), (3, 2, 7), (5, 3, 9)])
def test_nearest_rows_are_copies_of_the_cell_below_them(new: Grid) -> None:
    """Row i of n takes the old row floor(i * old / n) along each axis; the class token's row stays."""
    positions = NearestPositionTable(OLD, WIDTH, num_prefix=1)
    table = positions(new)
    t, h, w = ([i * old // n for i in range(n)] for old, n in zip(OLD, new, strict=True))
    old_rows = as_grid(positions.table[1:], OLD)
    assert torch.equal(table[0], positions.table[0])
    assert torch.equal(as_grid(table[1:], new), old_rows[t][:, h][:, :, w])
