"""Every ViViT model at a size that computes in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.models import create_model

KINDS = ("joint", "fe", "fsa", "fdp", "avgpool")
TWO_STAGE_KINDS = ("fe", "avgpool")


def tiny(kind: str, **options: Any) -> Any:
    """A model in evaluation mode whose head, which starts at zero, is random: its logits tell clips apart."""
    fields: dict[str, Any] = {
        "num_classes": 5,
        "num_frames": 8,
        "image_size": (8, 12),
        "tubelet_size": (2, 4, 4),
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 4,
        "mlp_ratio": 2.0,
    }
    if kind == "fe":
        fields |= {"temporal_depth": 2}
    model = create_model(f"vivit_b16x2_{kind}", **{**fields, **options})
    nn.init.normal_(model.get_parameter("head.weight"))
    return model.eval()


def clips(batch: int, num_frames: int = 8, height: int = 8, width: int = 12) -> Tensor:
    """Random clips [B, C, T, H, W]; unless asked otherwise on the grid the models are made for, 4 x 2 x 3."""
    return torch.randn(batch, 3, num_frames, height, width)
