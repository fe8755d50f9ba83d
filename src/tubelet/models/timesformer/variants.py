"""The names of the TimeSformers: size of the image ViT, patches of 16 pixels, and which attention or which clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.timesformer.config import TimeSformerConfig

if TYPE_CHECKING:
    from torch import nn

TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}

# Larger clips: more pixels, more frames.
HR: dict[str, Any] = {"num_frames": 16, "image_size": (448, 448)}
LONG: dict[str, Any] = {"num_frames": 96}


# Models import torch, so each is imported where it is made.
def divided() -> type[nn.Module]:
    from tubelet.models.timesformer.model import TimeSformerDivided

    return TimeSformerDivided


def joint() -> type[nn.Module]:
    from tubelet.models.timesformer.model import TimeSformerJoint

    return TimeSformerJoint


def space() -> type[nn.Module]:
    from tubelet.models.timesformer.model import TimeSformerSpace

    return TimeSformerSpace


MODELS: Models = {
    "timesformer_ti16_divided": (divided, TimeSformerConfig, TI),  # the paper has B only: the size is ViT's
    "timesformer_ti16_joint": (joint, TimeSformerConfig, TI),
    "timesformer_ti16_space": (space, TimeSformerConfig, TI),
    "timesformer_b16_divided": (divided, TimeSformerConfig, B),
    "timesformer_b16_joint": (joint, TimeSformerConfig, B),
    "timesformer_b16_space": (space, TimeSformerConfig, B),
    "timesformer_b16_hr": (divided, TimeSformerConfig, {**B, **HR}),
    "timesformer_b16_l": (divided, TimeSformerConfig, {**B, **LONG}),
}
