"""Heads on stored features: linear ones with several penalties, and nearest neighbors.

Features are standardized by the training clips; a linear head takes that into its weights in the end.

    N  training clips   M  clips to score   V  views of a clip   D  width   K  classes   H  linear heads
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tubelet.nn.video_model import ReadingKind
from tubelet.probing.config import ProbeConfig

Loss = Literal["softmax", "sigmoid"]
_TEMPERATURE = 0.07  # of the weights of neighbors, as DINO (arXiv 2104.14294) has it


@dataclass(frozen=True, kw_only=True)
class LinearSetting:
    """How strongly the weights of a linear head are held back."""

    penalty: float

    def __str__(self) -> str:
        return f"linear, penalty {self.penalty:g}"


@dataclass(frozen=True, kw_only=True)
class NeighborSetting:
    """How many neighbors vote."""

    neighbors: int

    def __str__(self) -> str:
        return f"{self.neighbors}-NN"


@dataclass(frozen=True, kw_only=True)
class ReadingSetting:
    """Layers that read tokens or vectors of frames, and how they are trained."""

    kind: ReadingKind
    depth: int
    rate: float
    weight_decay: float

    def __str__(self) -> str:
        layers = f"{self.depth} layer{'s' * (self.depth != 1)}"
        return f"{self.kind}, {layers}, rate {self.rate:g}, weight decay {self.weight_decay:g}"


Setting = LinearSetting | NeighborSetting | ReadingSetting


def settings_of(config: ProbeConfig) -> list[Setting]:
    """Every head that is tried, in order."""
    found: list[Setting] = []
    if "linear" in config.heads:
        found += [LinearSetting(penalty=penalty) for penalty in config.penalties]
    if "knn" in config.heads:
        found += [NeighborSetting(neighbors=number) for number in config.neighbors]
    for kind in get_args(ReadingKind):
        if kind in config.heads:
            grid = itertools.product(config.depths, config.rates, config.weight_decays)
            found += [ReadingSetting(kind=kind, depth=d, rate=rate, weight_decay=decay) for d, rate, decay in grid]
    return found


@dataclass(frozen=True)
class Standardization:
    """Mean and deviation of every channel over the training clips and their views."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]

    @classmethod
    def of(cls, features: Float[Tensor, "N V D"]) -> Standardization:
        flat = features.flatten(0, 1)
        return cls(flat.mean(0), flat.std(0, correction=0).clamp_min(1e-6))

    def __call__(self, features: Float[Tensor, "N V D"]) -> Float[Tensor, "N V D"]:
        return (features - self.mean) / self.std


def train_linear(
    features: Float[Tensor, "N V D"], targets: Float[Tensor, "N K"], settings: list[LinearSetting], loss: Loss
) -> tuple[Float[Tensor, "H D K"], Float[Tensor, "H K"]]:
    """Weights and biases of every setting: logistic regression with a squared penalty, solved to its minimum.

    The minimum is the only one, so that there is no learning rate to choose and nothing random. The weights lie in the
    span of the clips, so that the problem has at most as many dimensions as there are clips.

    Args:
        features: standardized. Every view of a clip is a clip of its own here, with its share of the weight.
        targets: 1 where a clip has the class.
    """
    num_views = features.shape[1]
    x = features.flatten(0, 1).double()  # NV D
    y = targets.repeat_interleave(num_views, 0).double()  # NV K
    basis = torch.linalg.qr(x.T).Q if x.shape[1] > x.shape[0] else None  # D r
    small = x if basis is None else x @ basis  # NV r
    found = [_minimum(small, y, setting.penalty * num_views, loss) for setting in settings]
    weights = torch.stack([weight if basis is None else basis @ weight for weight, _ in found])
    return weights.float(), torch.stack([bias for _, bias in found]).float()


def _minimum(
    x: Float[Tensor, "N r"], y: Float[Tensor, "N K"], penalty: float, loss: Loss
) -> tuple[Float[Tensor, "r K"], Float[Tensor, " K"]]:
    """Where summed loss + penalty / 2 * squared weights is least, by L-BFGS."""
    weight = x.new_zeros(x.shape[1], y.shape[1], requires_grad=True)
    bias = x.new_zeros(y.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        value = _summed_loss(x @ weight + bias, y, loss) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    solver.step(closure)
    return weight.detach(), bias.detach()


def _summed_loss(logits: Float[Tensor, "N K"], targets: Float[Tensor, "N K"], loss: Loss) -> Float[Tensor, ""]:
    if loss == "softmax":
        return -(logits.log_softmax(-1) * targets).sum()
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def linear_logits(
    features: Float[Tensor, "M V D"], weight: Float[Tensor, "H D K"], bias: Float[Tensor, "H K"]
) -> Float[Tensor, "H M K"]:
    """The mean logits of the views of every clip, by every head."""
    return torch.einsum("mvd,hdk->hmk", features, weight) / features.shape[1] + bias[:, None]


def neighbor_logits(
    train: Float[Tensor, "N V D"],
    targets: Float[Tensor, "N K"],
    features: Float[Tensor, "M V D"],
    neighbors: int,
    loss: Loss,
) -> Float[Tensor, "M K"]:
    """Logits of the votes of the nearest training clips by cosine, the nearer the heavier; each class has one vote
    in a hundred beforehand, so that none is impossible."""
    known = F.normalize(train.mean(1), dim=-1)  # N D
    asked = F.normalize(features.mean(1), dim=-1)  # M D
    nearest = (asked @ known.T).topk(min(neighbors, len(known)), dim=-1)
    votes = ((nearest.values - 1) / _TEMPERATURE).exp()  # M k
    shares = (votes[..., None] * targets[nearest.indices]).sum(1) / votes.sum(1, keepdim=True)  # M K
    smooth = (shares + 0.01) / (1 + 0.01 * (shares.shape[1] if loss == "softmax" else 2))
    return smooth.log() if loss == "softmax" else smooth.logit()


def folded(
    weight: Float[Tensor, "D K"], bias: Float[Tensor, " K"], by: Standardization
) -> tuple[Float[Tensor, "K D"], Float[Tensor, " K"]]:
    """Weight and bias of an ordinary linear layer that takes features as they are."""
    own = weight / by.std[:, None]  # D K
    return own.T.contiguous(), bias - by.mean @ own
