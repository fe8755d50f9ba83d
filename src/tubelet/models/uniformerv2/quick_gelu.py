"""The MLP of CLIP's transformers, whose activation is QuickGELU: ``x * sigmoid(1.702 x)``.

Source: OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py`` (after OpenAI's CLIP).

QuickGELU is ``silu(c x) / c`` with c = 1.702. PyTorch has one pass for silu and one for its gradient, while the formula
as written takes three each over the widest tensor of a block; and the factors c and 1 / c can enter matrix products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_C = 1.702


class QuickGeluMlp(nn.Module):
    """Linear, QuickGELU, dropout, linear.

    Without dropout it is computed as a whole, so that the wide tensor is passed over once each way and in place (except
    when it trains in mixed precision). Forward hooks of ``fc1`` and ``fc2`` then do not run.
    """

    def __init__(self, embed_dim: int, hidden_dim: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.drop = nn.Dropout(drop_rate)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
        # Adapters and quantization put another class around or in place of a layer, which must see its call.
        plain = type(self.fc1) is nn.Linear and type(self.fc2) is nn.Linear
        trains, drops = torch.is_grad_enabled(), self.training and self.drop.p > 0
        if drops or not plain or (trains and _mixed_precision(x.device.type)):
            return self.fc2(self.drop(quick_gelu(self.fc1(x))))
        rows = x.reshape(-1, x.shape[-1])  # N D
        layers = (self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)
        result = _Mlp.apply(rows, *layers) if trains else _mlp(rows, *layers, inplace=True)[-1]
        return result.view(*x.shape[:-1], -1)


def _mixed_precision(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def quick_gelu(x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
    """``x * sigmoid(1.702 x)``."""
    return F.silu(x * _C) * (1 / _C)


def _mlp(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, inplace: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """c times what enters the activation, c times what leaves it, and the result."""
    scaled = torch.addmm(bias1, x, weight1.T, beta=_C, alpha=_C)  # N 4D
    active = F.silu(scaled, inplace=inplace)  # N 4D
    return scaled, active, torch.addmm(bias2, active, weight2.T, alpha=1 / _C)


class _Mlp(torch.autograd.Function):
    """``_mlp`` with its gradients; the gradient of the wide tensor is made in the memory of one matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        scaled, active, result = _mlp(x, weight1, bias1, weight2, bias2, inplace=False)
        ctx.save_for_backward(x, scaled, active, weight1, weight2)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scaled, active, weight1, weight2 = ctx.saved_tensors
        wants_x, wants_weight1, wants_bias1, wants_weight2, wants_bias2 = ctx.needs_input_grad
        wide = gradient @ weight2  # N 4D
        # The derivative of silu(c x) / c at x is that of silu at c x.
        torch.ops.aten.silu_backward.grad_input(wide, scaled, grad_input=wide)
        return (
            wide @ weight1 if wants_x else None,
            wide.T @ x if wants_weight1 else None,
            wide.sum(0) if wants_bias1 else None,
            (gradient.T @ active).mul_(1 / _C) if wants_weight2 else None,
            gradient.sum(0) if wants_bias2 else None,
        )
