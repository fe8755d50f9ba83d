"""The names of the V-JEPA 2s: size of the ViT, patches of 16 pixels, and the pixels of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.vjepa2.config import VJEPA2Config

if TYPE_CHECKING:
    from torch import nn

L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
G: dict[str, Any] = {"embed_dim": 1408, "depth": 40, "num_heads": 22, "mlp_ratio": 48 / 11}  # vit_giant_xformers


# Models import torch, so each is imported where it is made.
def vjepa2() -> type[nn.Module]:
    from tubelet.models.vjepa2.model import VJEPA2

    return VJEPA2


MODELS: Models = {
    "vjepa2_l16_256": (vjepa2, VJEPA2Config, L),
    "vjepa2_h16_256": (vjepa2, VJEPA2Config, H),
    "vjepa2_g16_256": (vjepa2, VJEPA2Config, G),
    "vjepa2_g16_384": (vjepa2, VJEPA2Config, {**G, "image_size": (384, 384)}),
}
