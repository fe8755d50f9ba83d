"""Rows of a position table for any number of time indices, as arithmetic that an exported graph can follow.

A graph that follows T cannot hold ``F.interpolate``: other runtimes round the places that it reads differently. Each
function here gives the rows that ``F.interpolate`` gives, from places and weights that the graph computes itself.

    T  time indices of the table   n  those asked for, a number or a symbol   D  width
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def linear_in_time(rows: Float[Tensor, "T *rest"], n: int) -> Float[Tensor, "n *rest"]:
    """Linear, end points aligned: row i lies at i (T - 1) / (n - 1)."""
    last = rows.shape[0] - 1
    index = torch.arange(n, device=rows.device)
    steps = (torch.zeros_like(index).sum() + n - 1).clamp(min=1)  # of one row, the first
    place = (index * last).to(torch.float64) / steps.to(torch.float64)  # n
    lower = place.floor().long()
    share = (place - lower).to(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1))
    upper = (lower + 1).clamp(max=last)
    return torch.lerp(rows[lower], rows[upper], share)


def nearest_in_time(rows: Float[Tensor, "T *rest"], n: int) -> Float[Tensor, "n *rest"]:
    """The lower of the two nearest: row i is that of floor(i T / n), in float32 as torch counts it."""
    index = torch.arange(n, device=rows.device).float()
    count = torch.ones_like(index).sum()  # n
    place = (index * (rows.shape[0] / count)).floor().long().clamp(max=rows.shape[0] - 1)
    return rows[place]


def antialiased_in_time(rows: Float[Tensor, "T *rest"], n: int) -> Float[Tensor, "n *rest"]:
    """Linear with end points not aligned; where rows become fewer, the triangle is as wide as a step."""
    num_rows = rows.shape[0]
    index = torch.arange(n, device=rows.device).double()
    scale = num_rows / torch.ones_like(index).sum()  # rows of the table per row asked for
    center = (index + 0.5) * scale  # n
    width = scale.clamp(min=1.0)
    place = torch.arange(num_rows, device=rows.device).double() + 0.5  # T
    weight = (1 - ((place - center[:, None]) / width).abs()).clamp(min=0)  # n T
    weight = (weight / weight.sum(1, keepdim=True)).to(rows.dtype)
    return (weight @ rows.flatten(1)).reshape(-1, *rows.shape[1:])
