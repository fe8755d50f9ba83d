"""What a toy is made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 4  # frames of the clip it is made for; any number may enter
    image_size: tuple[int, int] = (16, 24)  # height and width in pixels of the clip it is made for
    patch_size: int = 8  # height and width of a patch in pixels
    embed_dim: int = 24  # width of a patch
    depth: int = 2  # blocks
    num_heads: int = 4  # attention heads per block
    norm_eps: float = 1e-6  # epsilon of every LayerNorm
