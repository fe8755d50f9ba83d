"""Which TimeSformer a state dict is, from names and shapes, and the protocol that its weights were tested with.

Source: facebookresearch/TimeSformer, commit a5ef29a7, ``configs/`` (sizes, frames, views, mean and deviation) and
``timesformer/datasets/{kinetics,ssv2}.py`` (which frames).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.model import TimeSformerDivided, TimeSformerJoint, TimeSformerSpace
from tubelet.models.timesformer.variants import MODELS
from tubelet.protocol import Protocol

_HEAD_DIM = 64  # of every released model
_SOMETHING_SOMETHING = 174  # classes
_FPS = 30  # that Kinetics' clips are counted in
# Source frames between the frames of a clip, as the configs name them.
_RATES = {8: 32, 16: 16, 32: 8, 64: 4, 96: 4}


def model_of(source: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that official parameters belong to, and what was taken for granted.

    Args:
        source: names of the official model, without ``model.`` before them.
        given: ``name`` and fields that a user sets; they win over what is inferred.

    Raises:
        CheckpointError: no TimeSformer, or one that is not fully described.
    """
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "head.weight")
    missing = [name for name in needed if name not in source]
    if missing:
        raise CheckpointError(f"no TimeSformer: expected {missing[0]}, found {', '.join(list(source)[:4])}, ...")
    if "blocks.0.temporal_fc.weight" in source:
        model_class: Any = TimeSformerDivided
    else:
        model_class = TimeSformerJoint if "time_embed" in source else TimeSformerSpace
    kernel, rows = source["patch_embed.proj.weight"], source["pos_embed"].shape[1] - 1
    width, patch, side = len(kernel), kernel.shape[-1], math.isqrt(rows)
    notes = []
    if side * side != rows and "image_size" not in given:
        raise CheckpointError(f"pos_embed has {rows} rows for patches: give --model.image_size H,W")
    fields: dict[str, Any] = {
        "num_classes": len(source["head.weight"]),
        "in_channels": kernel.shape[1],
        "image_size": [side * patch, side * patch],
        "patch_size": patch,
        "embed_dim": width,
        "depth": 1 + max(int(m[1]) for name in source if (m := re.match(r"blocks\.(\d+)\.", name))),
        "num_heads": max(1, width // _HEAD_DIM),
        "mlp_ratio": len(source["blocks.0.mlp.fc1.weight"]) / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in source,
        "remainder": "drop",  # as the original's convolution does, which has no padding
    }
    if "num_heads" not in given:
        notes.append(f"{fields['num_heads']} heads of {_HEAD_DIM}, as in every released model (--model.num_heads)")
    if "time_embed" in source:
        fields["num_frames"] = source["time_embed"].shape[1]
    elif "num_frames" not in given:
        notes.append("8 frames: weights without a table of times do not say how many (--model.num_frames)")
    fields |= {key: value for key, value in given.items() if key != "name"}
    return given.get("name") or nearest_name(MODELS, model_class, fields), fields, notes


def protocol_of(config: TimeSformerConfig) -> tuple[Protocol, list[str]]:
    """How the released models were tested, and what of it was concluded rather than written."""
    mean, std = (0.45,) * config.in_channels, (0.225,) * config.in_channels
    common: dict[str, Any] = {
        "num_frames": config.num_frames,
        "resize_short_side": min(config.image_size),
        "crop_size": config.image_size,
        "num_channels": config.in_channels,
        "mean": mean,
        "std": std,
        "num_temporal_views": 1,
        "num_spatial_crops": 3,
        "averaging": "logits",
    }
    if config.num_classes == _SOMETHING_SOMETHING:
        notes = [
            f"{_SOMETHING_SOMETHING} classes: taken for Something-Something, one frame of each segment",
            "channel_order=bgr: the official loader of Something-Something reads frames with OpenCV and does not "
            "convert them (read in its source, not tested against its weights)",
            "the middle frame of a segment: the original takes (start + end) // 2, here it is start plus half the "
            "segment's exact length, at most one frame from it",
        ]
        return Protocol(**common, sampling="sparse", frame_stride=None, channel_order="bgr"), notes
    rate = _RATES.get(config.num_frames, max(1, 256 // config.num_frames))
    notes = [
        f"{config.num_frames} frames over {config.num_frames * rate} at {_FPS} frames per second, as trained on "
        "Kinetics (another: --protocol.target_fps)",
        "one clip from the middle, as the paper says; the official test takes it from the beginning of the video",
    ]
    return Protocol(**common, frame_stride=None, target_fps=clip_fps(config.num_frames, rate)), notes


def clip_fps(num_frames: int, rate: int) -> float:
    """Frames per second of a clip whose first and last frame are the first and last of ``num_frames * rate`` at 30
    frames per second, which is how the original spreads them."""
    span = num_frames * rate - 1
    return round(_FPS * (num_frames - 1) / span, 4) if num_frames > 1 else _FPS / rate
