"""What an attention step of a video model looks at: its kind, and where in the clip its queries and keys stand.

    B  videos   G  groups that attend apart (the frames of space attention, the places of time attention)
    Q, K  queries and keys of a group   T, S  time indices, places of one   N  tokens   3  (t, h, w) on the token grid

Positions are rows (t, h, w). ``EVERYWHERE`` stands for an axis that a token has no place on: a class token or a learned
query is -1, -1, -1, a class token of frame t is t, -1, -1. ``NOWHERE`` marks what only fills a block: no key there has
a probability, and a query there means nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from tubelet.types import Grid

EVERYWHERE, NOWHERE = -1, -2

# joint: all tokens of a clip; space: those of one time index; time: those of one place, or the vectors of the frames;
# window: a frame and its neighbors; cross: learned queries over tokens of the clip; pool: one query over all of them.
StepKind = Literal["joint", "space", "time", "window", "cross", "pool"]
Positions = Int[Tensor, "G N 3"]


@dataclass(frozen=True, kw_only=True)
class AttentionStep:
    """One attention of a forward pass. Positions are None where the network is not known to lay tokens on a grid."""

    kind: StepKind
    queries: Int[Tensor, "G Q 3"] | None = None
    keys: Int[Tensor, "G K 3"] | None = None
    layer: int | None = None  # cross: the layer that keys are tokens of; else: the layer as which they are read again


def joint_step(grid: Grid, num_prefix: int) -> AttentionStep:
    """All tokens of the clip, time by time and row by row, behind ``num_prefix`` class tokens."""
    tokens = torch.cat([clip_tokens(1, num_prefix), clip_positions(grid).flatten(0, 1)[None]], dim=1)  # 1 N 3
    return AttentionStep(kind="joint", queries=tokens, keys=tokens)


def space_step(grid: Grid, num_prefix: int, layer: int | None = None) -> AttentionStep:
    """The patches of each time index, behind ``num_prefix`` class tokens that it has for itself."""
    tokens = frame_positions(grid, num_prefix)  # T prefix+S 3
    return AttentionStep(kind="space", queries=tokens, keys=tokens, layer=layer)


def time_step(grid: Grid) -> AttentionStep:
    """The tokens of each place, time by time."""
    tokens = clip_positions(grid).transpose(0, 1)  # S T 3
    return AttentionStep(kind="time", queries=tokens, keys=tokens)


def frames_step(num_times: int, num_prefix: int) -> AttentionStep:
    """One vector per time index, behind ``num_prefix`` class tokens."""
    tokens = torch.cat([clip_tokens(1, num_prefix), vector_positions(range(num_times))], dim=1)  # 1 prefix+T 3
    return AttentionStep(kind="time", queries=tokens, keys=tokens)


def clip_positions(grid: Grid) -> Int[Tensor, "T S 3"]:
    rows = torch.tensor(list(itertools.product(*map(range, grid))))
    return rows.view(grid[0], -1, 3)


def frame_positions(grid: Grid, num_prefix: int) -> Int[Tensor, "T N 3"]:
    """Of every time index its class tokens, then its patches row by row."""
    class_tokens = vector_positions(range(grid[0])).transpose(0, 1).expand(-1, num_prefix, -1)  # T prefix 3
    return torch.cat([class_tokens, clip_positions(grid)], dim=1)


def vector_positions(times: range) -> Int[Tensor, "1 T 3"]:
    """Vectors of whole frames."""
    return torch.tensor([[t, EVERYWHERE, EVERYWHERE] for t in times], dtype=torch.long).view(1, -1, 3)


def clip_tokens(groups: int, count: int) -> Int[Tensor, "G N 3"]:
    """Class tokens and learned queries of the whole clip."""
    return torch.full((groups, count, 3), EVERYWHERE)
