"""The names of the VideoMAEs: size of the ViT and patches of 16 or 14 pixels; tubelets are of two frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.videomae.config import VideoMAEConfig, VideoMAEDecoderConfig

if TYPE_CHECKING:
    from torch import nn

S: dict[str, Any] = {"embed_dim": 384, "depth": 12, "num_heads": 6}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
G14: dict[str, Any] = {
    "embed_dim": 1408,
    "depth": 40,
    "num_heads": 16,
    "mlp_ratio": 48 / 11,
    "tubelet_size": (2, 14, 14),
}

# Decoders of the pre-training models by the encoder's width, as the released scripts set them.
DECODERS: dict[int, VideoMAEDecoderConfig] = {
    384: VideoMAEDecoderConfig(embed_dim=192, depth=4, num_heads=3),
    768: VideoMAEDecoderConfig(embed_dim=384, depth=4, num_heads=6),
    1024: VideoMAEDecoderConfig(embed_dim=512, depth=12, num_heads=8),
    1280: VideoMAEDecoderConfig(embed_dim=640, depth=12, num_heads=8),  # VideoMAE V2: 512
    1408: VideoMAEDecoderConfig(embed_dim=512, depth=4, num_heads=8),
}


# Models import torch, so each is imported where it is made.
def videomae() -> type[nn.Module]:
    from tubelet.models.videomae.model import VideoMAE

    return VideoMAE


MODELS: Models = {
    "videomae_s16": (videomae, VideoMAEConfig, S),
    "videomae_b16": (videomae, VideoMAEConfig, B),
    "videomae_l16": (videomae, VideoMAEConfig, L),
    "videomae_h16": (videomae, VideoMAEConfig, H),
    "videomae_g14": (videomae, VideoMAEConfig, G14),
}
