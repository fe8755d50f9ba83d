"""Integrated gradients: the gradient of a logit along the straight line from an empty clip to the clip.

Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (ICML 2017, arXiv 1703.01365) section 3.
Relevance sums to the difference of the logit between clip and baseline (their completeness axiom), up to the error of
the sum that stands for the integral; the result says how large that is.

Deviation: the integral is a midpoint sum, whose error falls with the square of the steps, where theirs is a right sum.

    C  channels   T, H, W  clip   K  classes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.explain.occlusion import Logits
from tubelet.explain.target import Target
from tubelet.session.progress import Progress

NUM_STEPS = 32
CHUNK_VALUES = 10_000_000  # input values of one backward pass: 2 clips of 3 x 32 x 224 x 224


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """Relevance, and how far its sum is from what it should be."""

    relevance: Float[Tensor, "T H W"]  # of all channels of a pixel together
    difference: float  # of the logit, clip less baseline
    gap: float  # sum of the relevance less ``difference``


@contextmanager
def without_parameter_gradients(model: nn.Module) -> Iterator[None]:
    """No gradients of parameters: a backward pass computes and keeps those of the clip alone."""
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


def integrate_gradients(
    logits_of: Logits,
    clip: Float[Tensor, "C T H W"],
    baseline: Float[Tensor, "C T H W"],
    target: Target,
    num_steps: int,
    progress: Progress,
) -> Integrated:
    """Relevance of every pixel for the logit; signed.

    Call it inside ``without_parameter_gradients``. Memory is that of the backward pass of ``CHUNK_VALUES``, or of one
    clip that is larger, whatever the number of steps.
    """
    change = clip - baseline  # C T H W
    total = torch.zeros_like(clip)
    alphas = (torch.arange(num_steps, device=clip.device, dtype=clip.dtype) + 0.5) / num_steps
    done = 0
    for part in alphas.split(max(1, CHUNK_VALUES // clip.numel())):
        between = (baseline + part.view(-1, 1, 1, 1, 1) * change).requires_grad_()  # b C T H W
        with torch.enable_grad():
            score = target.logit(logits_of(between)).sum()
            (gradient,) = torch.autograd.grad(score, between)
        total += gradient.sum(0)
        done += len(part)
        progress.advance(done, num_steps, "steps")
    relevance = (change * total / num_steps).sum(0)  # T H W
    with torch.no_grad():
        ends = target.logit(logits_of(torch.stack([clip, baseline]))).double()
    difference = float(ends[0] - ends[1])
    return Integrated(relevance=relevance, difference=difference, gap=float(relevance.double().sum()) - difference)
