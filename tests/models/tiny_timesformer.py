"""Every TimeSformer at a size that computes in milliseconds, with weights that make every part matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.models import create_model

KINDS = ("divided", "joint", "space")
FIELDS: dict[str, Any] = {
    "num_classes": 5,
    "num_frames": 4,
    "image_size": (16, 24),
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.0,
}


def tiny(kind: str, **options: Any) -> Any:
    """In evaluation mode; nothing is zero or one, as much is in a fresh model."""
    model = create_model(f"timesformer_ti16_{kind}", **{**FIELDS, **options})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model.eval()


def clips(batch: int, num_frames: int = 4, height: int = 16, width: int = 24) -> Tensor:
    """Random clips [B, C, T, H, W]; unless asked otherwise those that the models are made for."""
    return torch.randn(batch, 3, num_frames, height, width)
