"""Windows on a film's own grid of steps, and the mean of what overlapping windows say of a step.

Windows begin at multiples of the hop from the film's first step, and one more ends with its last step, so that what a
stretch of a film gets does not depend on where a reader began. A window counts the more for a step the farther the step
is from the window's ends.

    S  steps of a film   n  steps of a window   D  values of a step
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor


def window_starts(num_steps: int, window: int, hop: int, shift: int = 0) -> list[int]:
    """First steps of the windows of a film, ascending; [0] where it is no longer than a window.

    Args:
        shift: begin the windows so many steps later, behind a first one at 0.
    """
    if num_steps <= window:
        return [0]
    starts = {*range(shift, num_steps - window + 1, hop), num_steps - window, *([0] if shift else [])}
    return sorted(starts)


def starts_within(starts: Iterable[int], window: int, first: int, stop: int) -> list[int]:
    """The windows that hold a step of ``first`` to ``stop`` (excluded)."""
    return [start for start in starts if start < stop and start + window > first]


def blend(windows: Iterable[tuple[int, Float[Tensor, "n D"]]], first: int, stop: int) -> Iterator[Float[Tensor, "m D"]]:
    """The means of steps ``first`` to ``stop`` (excluded), in order and in parts, as soon as no window can change them.

    Args:
        windows: first step and values of each window that holds one of these steps, by ascending first step.
    """
    total: Tensor | None = None
    weights, base = torch.zeros(0), 0
    for start, values in windows:
        if total is None:
            total, base = values.new_zeros(0, values.shape[1]), start
        if start > base:
            yield from _means(total, weights, base, first, min(start, stop), upto=start)
            total, weights, base = total[start - base :], weights[start - base :], start
        missing = start + len(values) - base - len(total)
        if missing > 0:
            total = torch.cat([total, total.new_zeros(missing, total.shape[1])])
            weights = torch.cat([weights, weights.new_zeros(missing)])
        weight = triangle(len(values))
        total[start - base : start - base + len(values)] += values * weight[:, None].to(values)
        weights[start - base : start - base + len(values)] += weight
    if total is not None:
        yield from _means(total, weights, base, first, stop, upto=base + len(total))


def _means(
    total: Tensor, weights: Tensor, base: int, first: int, stop: int, *, upto: int
) -> Iterator[Float[Tensor, "m D"]]:
    a, b = max(first, base) - base, min(stop, upto) - base
    if b > a:
        yield total[a:b] / weights[a:b, None].to(total)


def triangle(length: int) -> Float[Tensor, " n"]:
    """How much a window counts for each of its steps."""
    places = torch.arange(length, dtype=torch.float32)
    return torch.minimum(places + 1, length - places)
