"""The names of the TimeSformers: size of the image ViT, patches of 16 pixels, and which attention or which clips."""

from __future__ import annotations

from typing import Any

from tubelet.models.family import Models
from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.model import TimeSformerDivided, TimeSformerJoint, TimeSformerSpace

TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}

# Larger clips: more pixels, more frames.
HR: dict[str, Any] = {"num_frames": 16, "image_size": (448, 448)}
LONG: dict[str, Any] = {"num_frames": 96}

MODELS: Models = {
    "timesformer_ti16_divided": (TimeSformerDivided, TimeSformerConfig, TI),  # the paper has B only: the size is ViT's
    "timesformer_ti16_joint": (TimeSformerJoint, TimeSformerConfig, TI),
    "timesformer_ti16_space": (TimeSformerSpace, TimeSformerConfig, TI),
    "timesformer_b16_divided": (TimeSformerDivided, TimeSformerConfig, B),
    "timesformer_b16_joint": (TimeSformerJoint, TimeSformerConfig, B),
    "timesformer_b16_space": (TimeSformerSpace, TimeSformerConfig, B),
    "timesformer_b16_hr": (TimeSformerDivided, TimeSformerConfig, {**B, **HR}),
    "timesformer_b16_l": (TimeSformerDivided, TimeSformerConfig, {**B, **LONG}),
}
