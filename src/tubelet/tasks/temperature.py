"""The temperature of a head: logits are divided by it, so that probabilities are as often right as they say.

It minimizes the negative log-likelihood of held-out videos (Guo et al. 2017, arXiv:1706.04599).

Deviation: a target is not 1 but (n + 1) / (n + 2), with n the number of held-out videos or labels, as in Platt's
"Probabilistic outputs for support vector machines" (1999), section 2.2: n right answers in a row do not make the next
one certain, and the temperature stays finite where no answer is wrong.

    N  videos    K  classes
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

BOUNDS = (0.05, 20.0)


def class_temperature(logits: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> float:
    """Of a head with one class per video; a video without a label (-1) takes no part."""
    logits, labels = logits[labels >= 0].double(), labels[labels >= 0]
    num_videos, num_classes = logits.shape
    if not num_videos:
        return 1.0
    rest = 1 / (num_videos + 2)
    target = logits.new_full(logits.shape, rest / max(1, num_classes - 1))
    target.scatter_(1, labels[:, None], 1 - rest)
    return _minimum(lambda t: float(-(target * (logits / t).log_softmax(-1)).sum()))


def label_temperature(logits: Float[Tensor, "N K"], labels: Int[Tensor, "N K"]) -> float:
    """Of classes that do not exclude each other; ``labels`` are 1 where a video has the class."""
    logits, has = logits.double(), labels.bool()
    present, absent = int(has.sum()), int((~has).sum())
    target = (has * (present + 1) / (present + 2)).where(has, logits.new_tensor(1 / (absent + 2)))
    return _minimum(lambda t: float(F.binary_cross_entropy_with_logits(logits / t, target, reduction="sum")))


def _minimum(loss: Callable[[float], float]) -> float:
    """Where a loss that is convex in the inverse temperature is least."""
    from scipy.optimize import minimize_scalar  # here, because its import takes a third of a second of every command

    low, high = (math.log(bound) for bound in BOUNDS)
    found = minimize_scalar(lambda log_t: loss(math.exp(log_t)), bounds=(low, high), method="bounded")
    return float(round(math.exp(found.x), 6))
