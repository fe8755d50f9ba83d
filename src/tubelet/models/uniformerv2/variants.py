"""The names of the UniFormerV2s: size of the image ViT, and ``_ssv2`` where its blocks mix frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig

if TYPE_CHECKING:
    from torch import nn

TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}

# CLIP's patches; Something-Something takes global blocks on two thirds of the layers.
L14: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 14}
L14_336: dict[str, Any] = {**L14, "image_size": (336, 336)}
L14_SSV2: dict[str, Any] = {**L14, "global_layers": 16}


# Models import torch, so each is imported where it is made.
def uniformerv2_local() -> type[nn.Module]:
    from tubelet.models.uniformerv2.model import UniFormerV2Local

    return UniFormerV2Local


def uniformerv2() -> type[nn.Module]:
    from tubelet.models.uniformerv2.model import UniFormerV2

    return UniFormerV2


MODELS: Models = {
    "uniformerv2_ti16": (uniformerv2, UniFormerV2Config, TI),  # the paper has no Ti: its size is ViT's
    "uniformerv2_ti16_ssv2": (uniformerv2_local, UniFormerV2LocalConfig, TI),
    "uniformerv2_b16": (uniformerv2, UniFormerV2Config, B),
    "uniformerv2_b16_ssv2": (uniformerv2_local, UniFormerV2LocalConfig, B),
    "uniformerv2_l14": (uniformerv2, UniFormerV2Config, L14),
    "uniformerv2_l14_ssv2": (uniformerv2_local, UniFormerV2LocalConfig, L14_SSV2),
    "uniformerv2_l14_336": (uniformerv2, UniFormerV2Config, L14_336),
}
