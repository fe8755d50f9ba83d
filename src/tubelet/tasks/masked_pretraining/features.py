"""Whether features tell clips apart, with labels and without.

N  clips   D  width of the features
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

NUM_NEIGHBORS = 5
FEWEST_CLIPS = 8  # below, rank and spread say nothing


def feature_rank(features: Float[Tensor, "N D"]) -> float | None:
    """The effective rank of features around their mean: the exponential of the entropy of their singular values.

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007). 1 means that all clips lie on a line. None means too
    few clips.
    """
    if len(features) < FEWEST_CLIPS:
        return None
    values = torch.linalg.svdvals((features - features.mean(dim=0)).double())
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    return math.exp(float(-(share * share.clamp(min=1e-300).log()).sum()))


def feature_spread(features: Float[Tensor, "N D"]) -> float | None:
    """How far clips lie from their mean, over the mean length of their features. 0 means that all are the same."""
    if len(features) < FEWEST_CLIPS:
        return None
    spread = (features - features.mean(dim=0)).double().norm(dim=1).square().mean().sqrt()
    return float(spread / features.double().norm(dim=1).mean().clamp(min=1e-12))


def neighbor_accuracy(
    features: Float[Tensor, "N D"], labels: Sequence[int], groups: Sequence[str | None]
) -> float | None:
    """The share of clips whose class most of their nearest clips have, by the cosine of features around their mean.

    A clip is not its own neighbor, and neither is one of its group. Of equal votes the nearer class wins. None means
    fewer than two classes.
    """
    if len(set(labels)) < 2:
        return None
    unit = F.normalize((features - features.mean(dim=0)).double(), dim=1)
    closeness = unit @ unit.T  # N N
    names: dict[str, int] = {}
    numbers = torch.tensor(
        [-1 - i if group is None else names.setdefault(group, len(names)) for i, group in enumerate(groups)]
    )
    closeness[numbers[:, None] == numbers] = -math.inf
    right = 0
    for row, label in enumerate(labels):
        votes: dict[int, float] = {}
        for value, place in zip(*closeness[row].topk(min(NUM_NEIGHBORS, len(labels) - 1)), strict=True):
            if value > -math.inf:
                votes[labels[place]] = votes.get(labels[place], 0.0) + 1 + 1e-3 * float(value)
        right += bool(votes) and max(votes, key=votes.__getitem__) == label
    return right / len(labels)
