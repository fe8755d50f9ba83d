"""A VideoMAE that computes in milliseconds, with random weights everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.models.videomae.config import VideoMAEConfig
from tubelet.models.videomae.model import VideoMAE

FIELDS: dict[str, Any] = {
    "num_classes": 3,
    "num_frames": 4,
    "image_size": (16, 16),
    "tubelet_size": (2, 8, 8),
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 2,
}


def tiny(**fields: Any) -> VideoMAE:
    torch.manual_seed(0)
    model = VideoMAE(VideoMAEConfig(**{**FIELDS, **fields})).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def clip(num_frames: int = 4, height: int = 16, width: int = 16) -> Tensor:
    return torch.randn(2, 3, num_frames, height, width, generator=torch.Generator().manual_seed(1))
