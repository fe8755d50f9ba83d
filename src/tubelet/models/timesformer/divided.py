"""Divided space-time attention: over time at a place, then over space in a frame, in every block (TimeSformer).

Source: "Is Space-Time Attention All You Need for Video Understanding?" (arXiv 2102.05095, section 3) and its official
code, facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py`` (``Block``). Where the two differ
this follows the code: the class token takes no part in attention over time, which the paper's equation 13 lets it.

    B  videos   S  places (patches of a frame)   T  frames   D  embedding width   N = 1 + S T  tokens

Tokens stand class token first, then place by place, and at a place frame by frame.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn

from tubelet.nn.attention import Attention
from tubelet.nn.block import make_mlp
from tubelet.nn.linear import Linear
from tubelet.types import Activation


class DividedBlock(nn.Module):
    """Attention over time, attention over space, MLP, each added to what it read after a LayerNorm.

    Every frame's attention over space has a copy of the class token as it enters the block; the class token is moved
    by the mean of what those copies take up. ``temporal_fc``, one more linear layer behind attention over time, starts
    at zero, so that a fresh model is an image ViT on every frame.

    ``drop_path`` drops attention over time for a place of a video, over space for a frame of it, the MLP for a video.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        activation: Activation = "gelu",
        norm_eps: float = 1e-6,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.temporal_norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.temporal_attn = Attention(embed_dim, num_heads, qkv_bias, attn_drop_rate, drop_rate)
        self.temporal_fc = Linear(embed_dim, embed_dim)
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads, qkv_bias, attn_drop_rate, drop_rate)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = make_mlp(embed_dim, mlp_ratio, activation, drop_rate)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "B N D"], num_frames: int) -> Float[Tensor, "B N D"]:
        class_token, z = x[:, :1], x[:, 1:]  # B 1 D; B S*T D
        z = z + self._over_time(z, num_frames)  # B S*T D
        update = self._over_space(class_token, z, num_frames)  # B T 1+S D
        class_token = class_token + update[:, :, 0].mean(1, keepdim=True)  # B 1 D
        z = rearrange(z, "b (s t) d -> b s t d", t=num_frames) + rearrange(update[:, :, 1:], "b t s d -> b s t d")
        x = torch.cat([class_token, z.flatten(1, 2)], dim=1)  # B N D
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _over_time(self, z: Float[Tensor, "B ST D"], num_frames: int) -> Float[Tensor, "B ST D"]:
        x = rearrange(self.temporal_norm1(z), "b (s t) d -> (b s) t d", t=num_frames)
        x = self.temporal_fc(self.drop_path(self.temporal_attn(x)))  # B*S T D
        return rearrange(x, "(b s) t d -> b (s t) d", b=z.shape[0])

    def _over_space(
        self, class_token: Float[Tensor, "B 1 D"], z: Float[Tensor, "B ST D"], num_frames: int
    ) -> Float[Tensor, "B T S1 D"]:
        class_tokens = class_token.unsqueeze(1).expand(-1, num_frames, -1, -1)  # B T 1 D
        z = rearrange(z, "b (s t) d -> b t s d", t=num_frames)
        x = torch.cat([class_tokens, z], dim=2).flatten(0, 1)  # B*T 1+S D
        x = self.drop_path(self.attn(self.norm1(x)))  # B*T 1+S D
        return x.unflatten(0, (-1, num_frames))
