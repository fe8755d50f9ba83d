"""A V-JEPA 2 that computes in milliseconds, with random weights everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.models.vjepa2.model import VJEPA2

FIELDS: dict[str, Any] = {
    "num_classes": 3,
    "num_frames": 4,
    "image_size": (16, 16),
    "tubelet_size": (2, 8, 8),
    "embed_dim": 36,
    "depth": 3,
    "num_heads": 3,
    "pooler_depth": 2,
    "pooler_num_heads": 2,
}


def tiny(**fields: Any) -> VJEPA2:
    torch.manual_seed(0)
    return randomized(VJEPA2(VJEPA2Config(**{**FIELDS, **fields})))


def randomized(model: Any) -> Any:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def clip(num_frames: int = 4, height: int = 16, width: int = 16) -> Tensor:
    return torch.randn(2, 3, num_frames, height, width, generator=torch.Generator().manual_seed(1))
