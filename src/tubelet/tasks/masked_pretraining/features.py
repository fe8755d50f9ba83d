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
NUM_FOLDS = 5  # of the linear head
RIDGE = 0.1  # its penalty, over clips, of features with deviation 1
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
    numbers = torch.tensor(_numbers(groups))
    closeness[numbers[:, None] == numbers] = -math.inf
    right = 0
    for row, label in enumerate(labels):
        votes: dict[int, float] = {}
        for value, place in zip(*closeness[row].topk(min(NUM_NEIGHBORS, len(labels) - 1)), strict=True):
            if value > -math.inf:
                votes[labels[place]] = votes.get(labels[place], 0.0) + 1 + 1e-3 * float(value)
        right += bool(votes) and max(votes, key=votes.__getitem__) == label
    return right / len(labels)


def linear_accuracy(
    features: Float[Tensor, "N D"], labels: Sequence[int], groups: Sequence[str | None]
) -> float | None:
    """The share of clips whose class a linear head finds that has not seen them, nor others of their group.

    The head is a ridge regression on one number per class. Clips are dealt to folds group by group, those of a class
    evenly; each fold is told by a head on the others. None means fewer than two classes or groups.
    """
    units = _numbers(groups)
    folds = _dealt(units, labels)
    if len(set(labels)) < 2 or len(set(folds.tolist())) < 2:
        return None
    classes = torch.tensor(labels)
    x, y = features.double(), F.one_hot(classes).double()
    right = 0
    for fold in set(folds.tolist()):
        seen = folds != fold
        mean, spread = x[seen].mean(dim=0), x[seen].std(dim=0).clamp(min=1e-9)
        z = (x - mean) / spread
        a, b = z[seen], y[seen] - y[seen].mean(dim=0)
        # Of so few clips the smaller of the two systems: N N in place of D D.
        kernel = a @ a.T + RIDGE * len(a) * torch.eye(len(a), dtype=a.dtype)
        scores = z[~seen] @ a.T @ torch.linalg.solve(kernel, b) + y[seen].mean(dim=0)
        right += int((scores.argmax(dim=1) == classes[~seen]).sum())
    return right / len(labels)


def _numbers(groups: Sequence[str | None]) -> list[int]:
    """The same number for clips of one group; one of its own for a clip without."""
    names: dict[str, int] = {}
    return [-1 - i if group is None else names.setdefault(group, len(names)) for i, group in enumerate(groups)]


def _dealt(units: Sequence[int], labels: Sequence[int]) -> Tensor:
    """The fold of each clip: the groups of each class in turn, each to the smallest fold."""
    sizes, fold_of = [0] * NUM_FOLDS, dict[int, int]()
    for row in sorted(range(len(units)), key=lambda row: labels[row]):
        if units[row] not in fold_of:
            fold_of[units[row]] = min(range(NUM_FOLDS), key=sizes.__getitem__)
            sizes[fold_of[units[row]]] += units.count(units[row])
    return torch.tensor([fold_of[unit] for unit in units])
