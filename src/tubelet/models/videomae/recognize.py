"""Which VideoMAE a state dict is, from names and shapes, and the protocol that its weights were tested with.

Sources: MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_finetune.py`` (sizes), ``scripts/`` and ``kinetics.py``,
``ssv2.py`` (frames, views, mean and deviation); OpenGVLab/VideoMAEv2, commit 29eab1e8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.videomae.config import VideoMAEConfig
from tubelet.models.videomae.model import VideoMAE
from tubelet.models.videomae.variants import MODELS
from tubelet.protocol import Protocol

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of every released model
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}  # by width; no tensor's shape shows them
_FRAMES, _SIZE = 16, 224  # of every released model
_SOMETHING_SOMETHING = 174  # classes
_KINETICS = (400, 600, 700, 710, 101, 51)  # classes of Kinetics, UCF101 and HMDB51, which share the views
_V2_ONLY = (600, 700, 710)  # classes of models that only VideoMAE V2 released
_REFUSED = {
    "pos_embed": "a learned table of positions; tubelet's VideoMAE has the fixed sine-cosine table",
    "gamma_1": "layer scale, which no released VideoMAE has",
    "attn.scale": "cosine attention (cos_attn of VideoMAE V2), which no released VideoMAE has",
    "cls_token": "a class token, which VideoMAE has not",
}


def model_of(source: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that official parameters belong to, and what was taken for granted.

    Args:
        source: names of the official fine-tuned or pre-trained model.
        given: ``name`` and fields that a user sets; they win over what is inferred.

    Raises:
        CheckpointError: no VideoMAE, one with layers that tubelet's has not, or one that is not fully described.
    """
    prefix = "encoder." if "encoder.patch_embed.proj.weight" in source else ""
    kernel = source.get(f"{prefix}patch_embed.proj.weight")
    hidden = source.get(f"{prefix}blocks.0.mlp.fc1.weight")
    if kernel is None or hidden is None or kernel.ndim != 5:
        found = ", ".join(list(source)[:4])
        raise CheckpointError(
            f"no VideoMAE: expected patch_embed.proj.weight with 5 axes and blocks.0.mlp.fc1.weight, found {found}, ..."
        )
    refuse_layers(source)
    width = len(kernel)
    fields: dict[str, Any] = {
        "num_classes": len(source["head.weight"]) if "head.weight" in source else 0,
        "in_channels": kernel.shape[1],
        "tubelet_size": list(kernel.shape[2:]),
        "image_size": [_SIZE, _SIZE],
        "embed_dim": width,
        "depth": 1 + max(int(m[1]) for name in source if (m := re.match(rf"{prefix}blocks\.(\d+)\.", name))),
        "mlp_ratio": len(hidden) / width,
        "qkv_bias": f"{prefix}blocks.0.attn.q_bias" in source,
    }
    fields |= pooling_of(f"{prefix}norm.weight" in source, fields["num_classes"])
    notes = []
    if not {"num_frames", "image_size"} <= given.keys():
        notes.append(
            f"{_FRAMES} frames of {_SIZE}x{_SIZE}, as every released model: weights without a table of positions do "
            "not say (--model.num_frames, --model.image_size)"
        )
    if "num_heads" not in given:
        fields["num_heads"] = heads_of(width)
        notes.append(f"{fields['num_heads']} heads, as the released model of width {width} (--model.num_heads)")
    fields |= {key: value for key, value in given.items() if key != "name"}
    return given.get("name") or nearest_name(MODELS, VideoMAE, fields), fields, notes


def refuse_layers(source: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for layers that tubelet's VideoMAE has not, naming them."""
    for part, what in _REFUSED.items():
        name = next((name for name in source if name == part or name.endswith(f".{part}")), None)
        if name is not None:
            raise CheckpointError(f"{name}: {what}")


def pooling_of(has_norm: bool, num_classes: int) -> dict[str, str]:
    """How tokens become a vector: with a norm of every token a classifier takes the first, an encoder the mean."""
    if not has_norm:
        return {"global_pool": "avg", "final_norm": "pooled"}
    return {"global_pool": "first" if num_classes else "avg", "final_norm": "tokens"}


def heads_of(width: int) -> int:
    """Heads of the released model of a width.

    Raises:
        CheckpointError: none of them has it.
    """
    if width not in HEADS:
        known = ", ".join(map(str, HEADS))
        raise CheckpointError(
            f"width {width} is none of the released models' ({known}), and no shape shows how many heads there are: "
            "give --model.num_heads"
        )
    return HEADS[width]


def protocol_of(config: VideoMAEConfig) -> tuple[Protocol, list[str]]:
    """How the released models were tested, and what of it was concluded rather than written."""
    channels = config.in_channels
    common: dict[str, Any] = {
        "num_frames": config.num_frames,
        "resize_short_side": min(config.image_size),
        "crop_size": config.image_size,
        "num_channels": channels,
        "mean": MEAN if channels == 3 else (0.5,) * channels,
        "std": STD if channels == 3 else (0.5,) * channels,
        "short_video": "hold",
        "num_spatial_crops": 3,
        "averaging": "probs",
    }
    classes = config.num_classes
    if classes == _SOMETHING_SOMETHING:
        notes = [
            f"{classes} classes: taken for Something-Something V2, one frame of each of {config.num_frames} segments, "
            "2x3 views; the original takes the first and the middle frame of a segment, here it is those at a quarter "
            "and at three quarters"
        ]
        return Protocol(**common, sampling="uniform", frame_stride=None, num_temporal_views=2), notes
    taken = "taken for Kinetics, UCF101 or HMDB51" if classes in _KINETICS else "the views are those of Kinetics"
    notes = [
        f"{classes or 'no'} classes: {taken}, every 4th frame, 5x3 views; the original's clips may begin up to three "
        "frames elsewhere, since it takes every 4th frame of the whole video first"
    ]
    return Protocol(**common, frame_stride=4, num_temporal_views=5), notes


def license_facts(config: VideoMAEConfig) -> dict[str, str]:
    """Original, license of the weights and license of the code, as a record keeps them."""
    if config.tubelet_size[1] == 14 or config.num_classes in _V2_ONLY:
        return {
            "original": "OpenGVLab/VideoMAEv2",
            "license": "unknown: pages of the weights say cc-by-nc-4.0 and apache-2.0; ask before use",
            "code_license": "mit",
        }
    return {"original": "MCG-NJU/VideoMAE", "license": "cc-by-nc-4.0", "code_license": "cc-by-nc-4.0"}
