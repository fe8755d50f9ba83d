"""Both wirings of UniFormerV2 at a size that computes in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.models import create_model

WIRINGS = ("global", "local")
FUSIONS = ("sequential", "parallel", "hierarchical_kv", "hierarchical_q")


def tiny(wiring: str, *, fresh: bool = False, **options: Any) -> Any:
    """A model in evaluation mode for clips 4 x 8 x 12, on 2 x 3 patches; unless ``fresh``, nothing in it is zero."""
    fields: dict[str, Any] = {
        "num_classes": 5,
        "num_frames": 4,
        "image_size": (8, 12),
        "patch_size": 4,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 4,
        "global_layers": 2,
    }
    name = "uniformerv2_b16" if wiring == "global" else "uniformerv2_b16_ssv2"
    model = create_model(name, **{**fields, **options})
    if not fresh:
        randomize(model)
    return model.eval()


def randomize(model: nn.Module) -> None:
    """Random values in every parameter and statistic, so that every branch counts."""
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.2)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.2)
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)


def clips(batch: int, num_frames: int = 4, height: int = 8, width: int = 12) -> Tensor:
    """Random clips [B, C, T, H, W]."""
    return torch.randn(batch, 3, num_frames, height, width)
