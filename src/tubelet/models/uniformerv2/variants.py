"""The names of the UniFormerV2s: size of the image ViT, and ``_ssv2`` where its blocks mix frames."""

from __future__ import annotations

from typing import Any

from tubelet.models.family import Models
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local

TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}

# CLIP's patches; Something-Something takes global blocks on two thirds of the layers.
L14: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 14}
L14_336: dict[str, Any] = {**L14, "image_size": (336, 336)}
L14_SSV2: dict[str, Any] = {**L14, "global_layers": 16}

MODELS: Models = {
    "uniformerv2_ti16": (UniFormerV2, UniFormerV2Config, TI),  # the paper has no Ti: its size is ViT's
    "uniformerv2_ti16_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, TI),
    "uniformerv2_b16": (UniFormerV2, UniFormerV2Config, B),
    "uniformerv2_b16_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, B),
    "uniformerv2_l14": (UniFormerV2, UniFormerV2Config, L14),
    "uniformerv2_l14_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, L14_SSV2),
    "uniformerv2_l14_336": (UniFormerV2, UniFormerV2Config, L14_336),
}
