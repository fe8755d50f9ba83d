"""UniFormerV2's global UniBlock: learned queries gather from all tokens of a video, at a cost linear in their number.

Source: "UniFormerV2" (ICCV 2023, arXiv 2211.09552) section 3; OpenGVLab/UniFormerV2, commit 722a4344,
``slowfast/models/uniformerv2_model.py`` (``Extractor`` and the ``dpe`` of ``Transformer``).

    B  videos   T  time indices   N = 1 + h w  class token and patches of a frame   Q  queries   M  keys   D  width
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from timm.layers import DropPath
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tubelet.models.uniformerv2.quick_gelu import QuickGeluMlp
from tubelet.nn.linear import Linear


class GlobalUniBlock(nn.Module):
    """``q + attention(norm1(q), norm3(keys))``, then ``q + mlp(norm2(q))``.

    Keys are the tokens of all frames, their class tokens included; the patches among them get the block's own
    positions first. The tokens that come in are left as they are. Attention and MLP end in zeros at the start, so that
    a fresh block gives back its queries. All LayerNorms have eps 1e-5.

    Deviation: ``drop_path`` keeps or drops a branch for each video; in the original the whole batch shares the draw.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path: float = 0.0,
        dpe: bool = True,
    ) -> None:
        super().__init__()
        self.dpe = DynamicPositionEncoding(embed_dim) if dpe else None
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm3 = nn.LayerNorm(embed_dim)
        self.attn = CrossAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = QuickGeluMlp(embed_dim, round(mlp_ratio * embed_dim), drop_rate)
        self.drop_path = DropPath(drop_path)
        nn.init.xavier_uniform_(self.mlp.fc1.weight)
        nn.init.zeros_(self.mlp.fc2.weight)
        nn.init.zeros_(self.mlp.fc2.bias)

    def keys(self, tokens: Float[Tensor, "B T N D"], grid: tuple[int, int]) -> Float[Tensor, "B M D"]:
        """What the queries look at: the tokens, patches with their positions, frame after frame."""
        if self.dpe is None:
            return tokens.flatten(1, 2)
        class_token, patches = tokens.split((1, tokens.shape[2] - 1), dim=2)
        patches = patches + self.dpe(patches.unflatten(2, grid)).flatten(2, 3)  # B T h*w D
        return torch.cat([class_token, patches], dim=2).flatten(1, 2)  # B T*N D

    def forward(
        self, query: Float[Tensor, "B Q D"], keys: Float[Tensor, "B M D"], valid: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B Q D"]:
        """``valid`` is False for keys that are not looked at (padding)."""
        query = query + self.drop_path(self.attn(self.norm1(query), self.norm3(keys), valid))
        return query + self.drop_path(self.mlp(self.norm2(query)))


class CrossAttention(nn.Module):
    """Multi-head attention of queries over keys; the output projection starts at zero."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dim, embed_dim)
        self.kv = Linear(embed_dim, 2 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        bound = (6 / (4 * embed_dim)) ** 0.5  # Xavier's, of the three projections as one matrix D -> 3 D
        for layer in (self.q, self.kv):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(
        self, query: Float[Tensor, "B Q D"], keys: Float[Tensor, "B M D"], valid: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B Q D"]:
        q = rearrange(self.q(query), "b q (heads hd) -> b heads q hd", heads=self.num_heads)
        k, v = (
            rearrange(part, "b m (heads hd) -> b heads m hd", heads=self.num_heads)
            for part in self.kv(keys).chunk(2, dim=-1)
        )
        mask = None if valid is None else valid[:, None, None]  # B 1 1 M
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # B heads Q hd
        return self.proj(rearrange(x, "b heads q hd -> b q (heads hd)"))


class DynamicPositionEncoding(nn.Module):
    """A depthwise 3 x 3 x 3 convolution over time, height and width, padded with zeros (DPE)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(embed_dim, embed_dim, 3, padding=1, groups=embed_dim)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B T h w D"]) -> Float[Tensor, "B T h w D"]:
        if not torch.is_grad_enabled():
            return _depthwise(x, self.conv.weight, self.conv.bias)
        result: Tensor = _DepthwiseConvolution.apply(x, self.conv.weight, self.conv.bias)
        return result


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    channels_first = rearrange(x, "b t h w d -> b d t h w")  # a view: channels last in memory
    result = F.conv3d(channels_first, weight, bias, padding=1, groups=len(weight))
    return rearrange(result, "b d t h w -> b t h w d")


class _DepthwiseConvolution(torch.autograd.Function):
    """``_depthwise`` with its gradients: PyTorch's own of a depthwise 3-D convolution are slow on a CPU.

    The gradient of the input is the same convolution with the kernel reversed, that of the kernel the one of three
    depthwise convolutions over space, a plane of the kernel each. On the tokens of UniFormerV2-B/16 both ways together
    take 0.3 times as long as with PyTorch's gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _depthwise(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept: tuple[Tensor, Tensor] = ctx.saved_tensors
        x, weight = (tensor.to(gradient.dtype) for tensor in kept)  # another format under autocast
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _depthwise(gradient, weight.flip(2, 3, 4), None).to(kept[0].dtype) if wants_x else None,
            _kernel_gradient(x, weight, gradient).to(kept[1].dtype) if wants_weight else None,
            gradient.sum((0, 1, 2, 3)).to(kept[1].dtype) if wants_bias else None,
        )


def _kernel_gradient(
    x: Float[Tensor, "B T h w D"], weight: Float[Tensor, "D 1 3 3 3"], gradient: Float[Tensor, "B T h w D"]
) -> Float[Tensor, "D 1 3 3 3"]:
    """Of each plane the gradient over the pairs of frames that it joins: a frame and the one before, itself, after."""
    num_frames, planes = x.shape[1], []
    for offset in (-1, 0, 1):
        seen = x[:, max(0, offset) : num_frames + min(0, offset)]
        given = gradient[:, max(0, -offset) : num_frames - max(0, offset)]
        frames, gradients = (rearrange(each, "b t h w d -> (b t) d h w") for each in (seen, given))
        plane = weight[:, :, offset + 1]  # D 1 3 3
        if not len(frames):  # a single frame has none before or after
            planes.append(torch.zeros_like(plane))
            continue
        _, of_plane, _ = torch.ops.aten.convolution_backward(
            gradients, frames, plane, None, (1, 1), (1, 1), (1, 1), False, (0, 0), len(weight), (False, True, False)
        )
        planes.append(of_plane)
    return torch.stack(planes, dim=2)
