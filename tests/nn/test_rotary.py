"""Rotary positions in three axes: which channels turn, by which angles, and what a true rotation has that V-JEPA 2's
has not."""

from __future__ import annotations

import math

import pytest
import torch

from tubelet.nn.rotary import RotaryBlock, all_tokens, pairs_per_axis, rotation_of, token_coordinates

GRID = (2, 3, 4)
CPU = torch.device("cpu")


def test_tokens_are_counted_time_by_time_and_row_by_row() -> None:
    coordinates = token_coordinates(all_tokens(GRID, CPU), GRID)[0]
    expected = [(t, h, w) for t in range(2) for h in range(3) for w in range(4)]
    assert list(map(tuple, coordinates.tolist())) == expected


@pytest.mark.parametrize(
    ("head_dim", "channels"), [(64, 3 * 20), (80, 3 * 26), (32, 3 * 10), (16, 3 * 4), (12, 3 * 4), (6, 3 * 2)]
)
def test_channels_beyond_three_times_n_stay_as_they_are(head_dim: int, channels: int) -> None:
    assert 6 * pairs_per_axis(head_dim) == channels
    x = torch.randn(1, 2, 24, head_dim)
    turned = rotation_of(all_tokens(GRID, CPU), GRID, head_dim, "tiled")(x)
    assert turned[..., channels:].equal(x[..., channels:])
    assert turned[:, :, 0].allclose(x[:, :, 0])  # the first token lies at 0, 0, 0
    assert not turned[:, :, 1:, :channels].allclose(x[:, :, 1:, :channels])


@pytest.mark.parametrize("angles", ["tiled", "paired"])
def test_channel_by_channel_it_is_the_stated_formula(angles: str) -> None:
    """Pairs are neighbors; tiled angles repeat after half of an axis's channels, paired ones are equal in a pair."""
    head_dim, n = 16, 4
    x = torch.randn(1, 1, 24, head_dim, dtype=torch.float64)
    turned = rotation_of(all_tokens(GRID, CPU), GRID, head_dim, angles)(x)[0, 0]  # type: ignore[arg-type]
    coordinates = token_coordinates(all_tokens(GRID, CPU), GRID)[0].tolist()
    for token, coordinate in enumerate(coordinates):
        for axis, position in enumerate(coordinate):
            for c in range(n):
                i = c % (n // 2) if angles == "tiled" else c // 2
                angle = position * 10000 ** (-i / (n / 2))
                at = axis * n + c
                other = -x[0, 0, token, at + 1] if c % 2 == 0 else x[0, 0, token, at - 1]
                expected = x[0, 0, token, at] * math.cos(angle) + other * math.sin(angle)
                assert float(turned[token, at]) == pytest.approx(float(expected), abs=1e-5)


def test_a_true_rotation_keeps_lengths_and_sees_differences_only_which_the_tiled_does_not() -> None:
    x = torch.randn(1, 1, 1, 16).expand(1, 1, 24, 16)
    for angles, keeps in (("paired", True), ("tiled", False)):
        turned = rotation_of(all_tokens(GRID, CPU), GRID, 16, angles)(x)  # type: ignore[arg-type]
        assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5) == keeps


def test_kept_tokens_have_the_angles_of_their_places() -> None:
    kept = torch.tensor([[3, 17, 9]])
    every, some = (rotation_of(index, GRID, 16, "tiled") for index in (all_tokens(GRID, CPU), kept))
    assert some.cos.equal(every.cos[:, :, kept[0]])
    assert some.sin.equal(every.sin[:, :, kept[0]])


def test_the_precision_of_queries_is_kept() -> None:
    block = RotaryBlock(24, 2)
    rotation = rotation_of(all_tokens(GRID, CPU), GRID, 12, "tiled")
    assert rotation(torch.randn(1, 2, 24, 12, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert block(torch.randn(1, 24, 24), rotation).shape == (1, 24, 24)
