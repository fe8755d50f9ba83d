"""Heads on stored features: linear ones with many rates and weight decays at once, and nearest neighbors.

Features are standardized by the training clips; a linear head takes that into its weights in the end.

    N  training clips   M  clips to score   V  views of a clip   D  width   K  classes   H  linear heads
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tubelet.probe.config import ProbeConfig

Loss = Literal["softmax", "sigmoid"]
_TEMPERATURE = 0.07  # of the weights of neighbors, as DINO (arXiv 2104.14294) has it


@dataclass(frozen=True, kw_only=True)
class LinearSetting:
    """How a linear head is trained."""

    learning_rate: float
    weight_decay: float

    def __str__(self) -> str:
        return f"linear, rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"


@dataclass(frozen=True, kw_only=True)
class NeighborSetting:
    """How many neighbors vote."""

    neighbors: int

    def __str__(self) -> str:
        return f"{self.neighbors}-NN"


Setting = LinearSetting | NeighborSetting


def settings_of(config: ProbeConfig) -> list[Setting]:
    """Every head that is tried, in order."""
    found: list[Setting] = []
    if "linear" in config.heads:
        pairs = itertools.product(config.learning_rates, config.weight_decays)
        found += [LinearSetting(learning_rate=rate, weight_decay=decay) for rate, decay in pairs]
    if "knn" in config.heads:
        found += [NeighborSetting(neighbors=number) for number in config.neighbors]
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
    features: Float[Tensor, "N V D"],
    targets: Float[Tensor, "N K"],
    settings: list[LinearSetting],
    loss: Loss,
    num_steps: int,
) -> tuple[Float[Tensor, "H D K"], Float[Tensor, "H K"]]:
    """Weights and biases of every setting, trained side by side from zero by AdamW with a cosine schedule.

    A step looks at all clips, so that nothing is random. The heads share the product over clips, so that many cost
    little more than one.

    Args:
        features: standardized. Every view of a clip is a clip of its own here.
        targets: 1 where a clip has the class.
    """
    x = features.flatten(0, 1)  # NV D
    y = targets.repeat_interleave(features.shape[1], 0)  # NV K
    num_heads, width, num_classes = len(settings), x.shape[1], y.shape[1]
    weight = torch.zeros(width, num_heads * num_classes, requires_grad=True)
    bias = torch.zeros(num_heads * num_classes, requires_grad=True)
    rates = torch.tensor([s.learning_rate for s in settings]).repeat_interleave(num_classes)
    decays = torch.tensor([s.weight_decay for s in settings]).repeat_interleave(num_classes)
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (weight, bias)]
    for step in range(1, num_steps + 1):
        logits = (x @ weight + bias).unflatten(1, (num_heads, num_classes))  # NV H K
        each = _losses(logits, y, loss)  # H
        gradients = torch.autograd.grad(each.sum(), (weight, bias))
        scale = 0.5 * (1 + math.cos(math.pi * (step - 1) / num_steps))
        with torch.no_grad():
            for p, gradient, (first, second), decay in zip(
                (weight, bias), gradients, moments, (decays, torch.zeros_like(decays)), strict=True
            ):
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                update = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
                p.sub_(scale * rates * (update + decay * p))
    found = weight.detach().unflatten(1, (num_heads, num_classes)).movedim(1, 0)  # H D K
    return found, bias.detach().unflatten(0, (num_heads, num_classes))


def _losses(logits: Float[Tensor, "N H K"], targets: Float[Tensor, "N K"], loss: Loss) -> Float[Tensor, " H"]:
    if loss == "softmax":
        return -(logits.log_softmax(-1) * targets[:, None]).sum(-1).mean(0)
    wanted = targets[:, None].expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((0, 2))


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
