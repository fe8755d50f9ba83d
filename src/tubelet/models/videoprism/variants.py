"""The names of the VideoPrisms: size of the encoder, patches of 18 pixels, ``lvt`` for the video-text model's tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.videoprism.config import VideoPrismConfig, VideoTowerConfig

if TYPE_CHECKING:
    from torch import nn

B: dict[str, Any] = {}
L: dict[str, Any] = {"num_frames": 8, "embed_dim": 1024, "depth": 24, "num_heads": 16}
G: dict[str, Any] = {"num_frames": 8, "embed_dim": 1408, "depth": 40, "num_heads": 16, "mlp_ratio": 6144 / 1408}


# Models import torch, so each is imported where it is made.
def classifier() -> type[nn.Module]:
    from tubelet.models.videoprism.model import VideoPrism

    return VideoPrism


def video_tower() -> type[nn.Module]:
    from tubelet.models.videoprism.model import VideoPrismTower

    return VideoPrismTower


MODELS: Models = {
    "videoprism_b18": (classifier, VideoPrismConfig, B),
    "videoprism_l18": (classifier, VideoPrismConfig, L),
    "videoprism_g18": (classifier, VideoPrismConfig, G),  # its weights are not published
    "videoprism_lvt_b18": (video_tower, VideoTowerConfig, B),
    "videoprism_lvt_l18": (video_tower, VideoTowerConfig, L),
}
