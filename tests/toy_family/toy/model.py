"""The toy: blocks over the patches of every frame, and the mean of them all."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from tubelet.models.toy.config import ToyConfig

from tubelet.nn.block import Block
from tubelet.types import FrameFeatures


class Toy(nn.Module):
    frames_per_feature = 1
    frame_stage = ("patches", "blocks", "norm")

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(config.in_channels, config.embed_dim, config.patch_size, config.patch_size)
        block = {"embed_dim": config.embed_dim, "num_heads": config.num_heads, "norm_eps": config.norm_eps}
        self.blocks = nn.ModuleList(Block(activation="gelu", **block) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def forward(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B K"]:
        return self.encode_time(clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        x = self.patches(rearrange(clip, "b c t h w -> (b t) c h w")).flatten(2).mT  # B*T S D
        for block in self.blocks:
            x = block(x)
        return FrameFeatures(vectors=self.norm(x).mean(1).unflatten(0, (len(clip), -1)))  # B T D

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        return self.head(features.vectors.mean(1))  # B K
