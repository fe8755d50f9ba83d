"""The names of the VTNs, each by its backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.vtn.config import VTNConfig

if TYPE_CHECKING:
    from torch import nn

# The timm network and what follows from its width.
DEIT_B: dict[str, Any] = {"backbone": "deit_base_patch16_224"}
DEIT_TI: dict[str, Any] = {  # 3 heads, as the backbone has, is our choice
    "backbone": "deit_tiny_patch16_224",
    "num_heads": 3,
    "head_dim": 192,
}
R50: dict[str, Any] = {"backbone": "resnet50", "num_heads": 16, "hidden_dim": 4096, "head_dim": 2048}


# Models import torch, so each is imported where it is made.
def vtn() -> type[nn.Module]:
    from tubelet.models.vtn.model import VTN

    return VTN


MODELS: Models = {
    "vtn_vit_b16": (vtn, VTNConfig, {}),
    "vtn_deit_b16": (vtn, VTNConfig, DEIT_B),
    "vtn_deit_ti16": (vtn, VTNConfig, DEIT_TI),
    "vtn_r50": (vtn, VTNConfig, R50),
    "vtn_r101": (vtn, VTNConfig, {**R50, "backbone": "resnet101"}),
}
