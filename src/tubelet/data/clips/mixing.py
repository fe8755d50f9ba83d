"""Mixup and cutmix: every clip of a batch shares its pixels and its label with a partner of the same batch.

* mixup (Zhang et al., arXiv:1710.09412): share x clip + (1 - share) x partner, after normalization.
* cutmix (Yun et al., arXiv:1905.04899): a box of all frames comes from the partner; the share is the area that is left.

One share per batch, drawn from Beta(alpha, alpha). The partner is the previous video of the batch (torchvision's
``MixUp`` and ``CutMix``) or the one at the same position from the other end (scenic's ViViT). The loss is that of the
clip's label times the share plus that of the partner's label times the rest. For cross entropy, smoothed or not, this
equals the cross entropy against the mixed label. A video that could not be read is never a partner, because a clip
mixed with it would fade into black under the label of a video that is not shown.

    B  videos in a batch        C T H W  channels, frames, pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tubelet.data.clips.augment_config import MixConfig


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How one batch is mixed, as drawn."""

    partner: Int[Tensor, " B"]  # row of each video's partner; a video may be its own
    share: float  # of a clip in itself, the rest is its partner's
    box: tuple[int, int, int, int] | None = None  # cutmix: top, left, height, width that come from the partner

    def clips(
        self,
        clips: UInt8[Tensor, "B C T H W"] | Float[Tensor, "B T D"],
        rows: slice,
        to_input: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "b C T H W"] | Float[Tensor, "b T D"]:
        """The mixed input of a part of the batch; partners may lie outside it.

        Args:
            clips: of the whole batch.
            rows: the part.
            to_input: from pixels to what the model takes: the normalization, on the device.
        """
        own = clips[rows]
        if self.share == 1:
            return to_input(own)
        partners = clips[self.partner[rows]]
        if self.box is None:
            return torch.lerp(to_input(partners), to_input(own), self.share)
        top, left, height, width = self.box
        pasted = own.clone()
        pasted[..., top : top + height, left : left + width] = partners[..., top : top + height, left : left + width]
        return to_input(pasted)

    def labels(
        self, labels: Int[Tensor, " B"] | Int[Tensor, "B heads"], weight: Float[Tensor, "B *means"], rows: slice
    ) -> list[tuple[Tensor, Tensor]]:
        """Labels and their weights for a part of the batch, once of the clips and once of their partners.

        A loss that is linear in the target, as every cross entropy is, is the sum over both.
        """
        own = labels[rows], weight[rows] * self.share
        if self.share == 1:
            return [own]
        return [own, (labels[self.partner[rows]], weight[rows] * (1 - self.share))]


def draw_mixture(
    config: MixConfig, weight: Float[Tensor, " B"], size: tuple[int, int], rng: np.random.Generator
) -> Mixture:
    """Draw how one batch is mixed. A batch that is not mixed has share 1.

    Args:
        config: which kinds of mixing are on.
        weight: of each video; 0 if it could not be read.
        size: height and width of the clips in pixels.
        rng: where the draws come from.
    """
    if not config.is_on or rng.random() >= config.probability:
        return Mixture(partner=torch.arange(len(weight)), share=1.0)
    cut = config.cutmix > 0 and (config.mixup == 0 or rng.random() < config.cutmix_probability)
    alpha = config.cutmix if cut else config.mixup
    share = float(rng.beta(alpha, alpha))
    partner = _partners(weight, config.partner)
    if not cut:
        return Mixture(partner=partner, share=share)
    box = _draw_box(share, size, rng)
    return Mixture(partner=partner, share=1 - box[2] * box[3] / (size[0] * size[1]), box=box)


def _partners(weight: Tensor, how: Literal["previous", "reversed"]) -> Tensor:
    """The partner of each row, found among the rows that could be read; the others are their own."""
    partner = torch.arange(len(weight))
    read = partner[weight.cpu() > 0]
    partner[read] = read.roll(1) if how == "previous" else read.flip(0)
    return partner


def _draw_box(share: float, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """torchvision's box: of the area 1 - share around a center anywhere in the frame, cut at its borders."""
    spans = []
    for length in size:
        center, half = int(rng.integers(length)), int(0.5 * math.sqrt(1 - share) * length)
        start, stop = max(0, center - half), min(length, center + half)
        spans.append((start, stop - start))
    (top, height), (left, width) = spans
    return top, left, height, width
