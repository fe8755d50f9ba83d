"""The names of the V-JEPA 2s: size of the ViT, patches of 16 pixels, and the pixels of a frame.

Those of V-JEPA 2.1 (``vjepa2_1_*``) are unproven: see ``model_2_1.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.vjepa2.config import VJEPA2Config, VJEPA21Config

if TYPE_CHECKING:
    from torch import nn

L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
G: dict[str, Any] = {"embed_dim": 1408, "depth": 40, "num_heads": 22, "mlp_ratio": 48 / 11}  # vit_giant_xformers

B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
GIGANTIC: dict[str, Any] = {"embed_dim": 1664, "depth": 48, "num_heads": 26, "mlp_ratio": 64 / 13}
# Of V-JEPA 2.1: pixels, and classes, since no probe of it was released.
OF_2_1: dict[str, Any] = {"image_size": (384, 384), "num_classes": 0}


# Models import torch, so each is imported where it is made.
def vjepa2() -> type[nn.Module]:
    from tubelet.models.vjepa2.model import VJEPA2

    return VJEPA2


def vjepa2_1() -> type[nn.Module]:
    from tubelet.models.vjepa2.model_2_1 import VJEPA21

    return VJEPA21


MODELS: Models = {
    "vjepa2_l16_256": (vjepa2, VJEPA2Config, L),
    "vjepa2_h16_256": (vjepa2, VJEPA2Config, H),
    "vjepa2_g16_256": (vjepa2, VJEPA2Config, G),
    "vjepa2_g16_384": (vjepa2, VJEPA2Config, {**G, "image_size": (384, 384)}),
    "vjepa2_1_b16_384": (vjepa2_1, VJEPA21Config, {**B, **OF_2_1}),
    "vjepa2_1_l16_384": (vjepa2_1, VJEPA21Config, {**L, **OF_2_1}),
    "vjepa2_1_g16_384": (vjepa2_1, VJEPA21Config, {**G, **OF_2_1}),
    "vjepa2_1_gigantic16_384": (vjepa2_1, VJEPA21Config, {**GIGANTIC, **OF_2_1, "norm_layers": (11, 23, 37, 47)}),
}
