"""Occlusion of tubelets: how much the log-probability of a class drops where a part of the clip is hidden.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014, arXiv 1311.2901) section
4.2, who slide a gray square over an image. It needs nothing of a model but its logits, so it is the reference.

Deviation: tubelets do not overlap and have a length in time; the drop is of the log-probability, not the probability,
so that it does not vanish where the model is sure.

    C  channels   T, H, W  clip   K  classes   n_t, n_h, n_w  tubelets along each axis
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.errors import ConfigError
from tubelet.explain.target import Target
from tubelet.session.progress import Progress
from tubelet.types import Grid

CHUNK_VALUES = 40_000_000  # input values that go through the model at once: 8 clips of 3 x 32 x 224 x 224
_SHARES = (8, 7, 7)  # of a clip along time, height and width, where no tubelet is given

Logits = Callable[[Float[Tensor, "B C T H W"]], Float[Tensor, "B K"]]


def default_tubelet(clip_size: Grid) -> Grid:
    """An eighth of the frames and a seventh of the rows and columns, rounded up."""
    t, h, w = (-(-length // share) for length, share in zip(clip_size, _SHARES, strict=True))
    return t, h, w


def check_tubelet(tubelet: Grid, clip_size: Grid) -> None:
    """Raise ConfigError where a tubelet is larger than the clip."""
    if any(part > length for part, length in zip(tubelet, clip_size, strict=True)):
        text = " x ".join(map(str, tubelet))
        raise ConfigError(
            f"a tubelet of {text} (frames x rows x columns) does not fit into a clip of "
            f"{' x '.join(map(str, clip_size))}; give a smaller one"
        )


@torch.no_grad()
def occlude(
    logits_of: Logits,
    clip: Float[Tensor, "C T H W"],
    fill: Float[Tensor, "C T H W"],
    target: Target,
    tubelet: Grid,
    progress: Progress,
) -> Float[Tensor, "T H W"]:
    """The drop of every tubelet, at each of its pixels. The last tubelet of an axis may be smaller.

    One forward pass per tubelet, several at once within ``CHUNK_VALUES``.

    Raises:
        ConfigError: the tubelet is larger than the clip.
    """
    size: Grid = (clip.shape[1], clip.shape[2], clip.shape[3])
    check_tubelet(tubelet, size)
    starts = (range(0, length, step) for length, step in zip(size, tubelet, strict=True))
    boxes = [
        tuple(slice(start, start + step) for start, step in zip(corner, tubelet, strict=True))
        for corner in itertools.product(*starts)
    ]
    whole = target.log_prob(logits_of(clip[None]))
    relevance = clip.new_zeros(size)  # T H W
    chunk = max(1, CHUNK_VALUES // clip.numel())
    for first in range(0, len(boxes), chunk):
        part = boxes[first : first + chunk]
        hidden = clip.expand(len(part), *clip.shape).clone()  # b C T H W
        for i, box in enumerate(part):
            hidden[i][(slice(None), *box)] = fill[(slice(None), *box)]
        drops = whole - target.log_prob(logits_of(hidden))  # b
        for box, drop in zip(part, drops, strict=True):
            relevance[box] = drop
        progress.advance(first + len(part), len(boxes), "tubelets")
    return relevance
