"""Pre-norm transformer blocks: the standard one, and ViViT Model 3's with attention over space, then time.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py`` (``EncoderBlock``,
``EncoderFactorizedSelfAttentionBlock``). LayerNorm eps 1e-6 and the tanh approximation of GELU are the original's.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from tubelet.nn.attention import Attention, FactorizedDotProductAttention
from tubelet.nn.linear import Linear
from tubelet.types import Activation, AxisOrder


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``, over the last but one axis of x.

    ``drop_path`` drops either branch for a whole example of the first axis: with x as ``[B, T, N, D]`` it drops a
    branch for all time indices of a video, as in the original.

    Deviation: examples that keep the branch are rescaled by 1 / (1 - p) (timm's rule), so that a branch has the same
    mean in training and in evaluation; ``drop_path_rescaled=False`` does not rescale, as in the original.
    """

    attention: type[Attention] = Attention
    layer_norm: type[nn.LayerNorm] = nn.LayerNorm

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        activation: Activation = "gelu_tanh",
        norm_eps: float = 1e-6,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.0,
        drop_path_rescaled: bool = True,
    ) -> None:
        super().__init__()
        self.norm1 = self.layer_norm(embed_dim, eps=norm_eps)
        self.attn = self.attention(embed_dim, num_heads, qkv_bias, attn_drop_rate, drop_rate)
        self.drop_path1 = DropPath(drop_path, scale_by_keep=drop_path_rescaled)
        self.norm2 = self.layer_norm(embed_dim, eps=norm_eps)
        self.mlp = make_mlp(embed_dim, mlp_ratio, activation, drop_rate)
        self.drop_path2 = DropPath(drop_path, scale_by_keep=drop_path_rescaled)

    def forward(
        self, x: Float[Tensor, "*lead N D"], valid: Bool[Tensor, "*lead N"] | None = None
    ) -> Float[Tensor, "*lead N D"]:
        x = x + self.drop_path1(self.attn(self.norm1(x), valid))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class FactorizedDotProductBlock(Block):
    """ViViT Model 4: the standard block and its parameters, with heads split between time and space."""

    attention = FactorizedDotProductAttention

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "B T S D"]
    ) -> Float[Tensor, "B T S D"]:
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class FactorizedSelfAttentionBlock(nn.Module):
    """ViViT Model 3: attention over space, attention over time (or the other order), then the MLP.

    Deviation: stochastic depth, which the original accepts and ignores in this block, drops each of the three
    branches as in :class:`Block`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        order: AxisOrder = "space_time",
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        activation: Activation = "gelu_tanh",
        norm_eps: float = 1e-6,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.0,
        drop_path_rescaled: bool = True,
    ) -> None:
        super().__init__()
        self.norm_space = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn_space = Attention(embed_dim, num_heads, qkv_bias, attn_drop_rate, drop_rate)
        self.norm_time = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn_time = Attention(embed_dim, num_heads, qkv_bias, attn_drop_rate, drop_rate)
        self.norm_mlp = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = make_mlp(embed_dim, mlp_ratio, activation, drop_rate)
        self.drop_path = DropPath(drop_path, scale_by_keep=drop_path_rescaled)
        self.steps = (self._space, self._time) if order == "space_time" else (self._time, self._space)

    def forward(self, x: Float[Tensor, "B T S D"]) -> Float[Tensor, "B T S D"]:
        for attend in self.steps:
            x = x + self.drop_path(attend(x))
        return x + self.drop_path(self.mlp(self.norm_mlp(x)))

    def _space(self, x: Float[Tensor, "B T S D"]) -> Float[Tensor, "B T S D"]:
        return self.attn_space(self.norm_space(x))

    def _time(self, x: Float[Tensor, "B T S D"]) -> Float[Tensor, "B T S D"]:
        x = rearrange(self.norm_time(x), "b t s d -> b s t d")
        return rearrange(self.attn_time(x), "b s t d -> b t s d")


class Gelu(nn.Module):
    """GELU, exact or by its tanh approximation. Without gradients it works in place.

    The input is the widest tensor of a block, and allocating a second one costs as much as computing the function. A
    hook that keeps the output of the layer before must copy it, as with every in-place activation.
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.approximate = "tanh" if activation == "gelu_tanh" else "none"

    def forward(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
        if torch.is_grad_enabled():
            return F.gelu(x, approximate=self.approximate)
        return torch.ops.aten.gelu_(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate}"


def make_mlp(embed_dim: int, mlp_ratio: float, activation: Activation, drop_rate: float) -> Mlp:
    """Build timm's two-layer MLP with the original's initial values (Xavier kernels, biases normal 1e-6)."""
    act = partial(Gelu, activation)
    mlp = Mlp(embed_dim, round(embed_dim * mlp_ratio), act_layer=act, drop=drop_rate)  # type: ignore[arg-type]
    mlp.fc1, mlp.fc2 = Linear.like(mlp.fc1), Linear.like(mlp.fc2)  # type: ignore[arg-type]
    for layer in (mlp.fc1, mlp.fc2):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(layer.bias, std=1e-6)
    return mlp


def drop_path_schedule(rate: float, depth: int) -> list[float]:
    """Return the drop rate of each block, growing linearly from 0 at the first to ``rate`` at the last."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]
