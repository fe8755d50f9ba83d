"""Which ViViT a tree of scenic's parameters is: model, sizes and heads from names and shapes, protocol from its data.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit``: ``model.py`` (names, layouts, the default
``classifier="gap"``) and ``configs/`` (the five published models: 32 frames, stride 2 on Kinetics and 1 on
Epic-Kitchens and Something-Something, short side 256 for crop 224 and 288 for crop 256, 4x3 views).

What neither names nor shapes hold is either the same for every published model, and then noted, or asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.vivit.model import (
    ViViTAveragePool,
    ViViTFactorizedDotProduct,
    ViViTFactorizedEncoder,
    ViViTFactorizedSelfAttention,
    ViViTJoint,
)
from tubelet.models.vivit.variants import MODELS
from tubelet.protocol import Protocol

_FRAMES = 32  # of every published model
_IMAGE_SIZES = (224, 256, 288, 320)  # pixels, of the paper's models
# Number of classes -> the data set that scenic published weights for, and its frame stride.
_PUBLISHED = {400: ("Kinetics-400", 2), 600: ("Kinetics-600", 2), 397: ("Epic-Kitchens-100", 1), 174: ("SSv2", 1)}


def model_of(weights: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that the parameters belong to, and what was taken for granted.

    Args:
        weights: scenic's parameters, names joined by "/".
        given: ``name`` and fields that a user sets; they win over what is inferred.

    Raises:
        CheckpointError: no ViViT of scenic, or something that must be given is not.
    """
    notes: list[str] = []
    for needed in ("embedding/kernel", "output_projection/kernel"):
        if needed not in weights:
            raise CheckpointError(f"no ViViT of scenic: expected {needed}, found {', '.join(list(weights)[:4])}, ...")
    model_class = _class_of(weights, given)
    try:
        fields = _sizes(weights, model_class)
        fields |= _pooling(weights, model_class, notes)
        fields |= {k: v for k, v in given.items() if k in ("num_frames", "image_size", "num_sampled_frames")}
        fields |= _grid(weights, fields, notes)
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"names or shapes are not those of a ViViT of scenic ({error})") from None
    fields |= {k: v for k, v in given.items() if k != "name"}
    if model_class is ViViTFactorizedSelfAttention and "attention_order" not in given:
        raise CheckpointError(
            "the order of Model 3's two attentions is not in its weights: give --model.attention_order space_time "
            "or time_space, as it was trained"
        )
    return given.get("name") or nearest_name(MODELS, model_class, fields), fields, notes


def protocol_of(fields: Mapping[str, Any]) -> tuple[Protocol, list[str]]:
    """The protocol of scenic's data pipeline for a model of these fields, and where it comes from."""
    classes, (height, width) = fields["num_classes"], fields["image_size"]
    data, stride = _PUBLISHED.get(classes, (None, 2))
    if data is None:
        note = f"{classes} classes are none of scenic's data sets: frame_stride {stride} is that of Kinetics"
    else:
        note = f"{classes} classes: taken for scenic's {data}, frame_stride {stride}"
    crop = min(height, width)
    protocol = Protocol(
        num_frames=fields["num_frames"],
        frame_stride=stride,
        resize_short_side={224: 256, 256: 288}.get(crop, round(crop * 256 / 224)),
        crop_size=(height, width),
        num_channels=fields["in_channels"],
        mean=(0.5,) * fields["in_channels"],
        std=(0.5,) * fields["in_channels"],
    )
    return protocol, [f"{note}; another is set with --protocol.frame_stride"]


def published_heads(num_classes: int) -> dict[str, tuple[str, ...]] | None:
    """The heads of the published model with so many outputs, by numbers, if it has several: Epic-Kitchens' 300 nouns
    and then 97 verbs (``configs/epic_kitchens``, ``split_names``)."""
    if _PUBLISHED.get(num_classes, ("", 0))[0] != "Epic-Kitchens-100":
        return None
    return {head: tuple(map(str, range(count))) for head, count in (("noun", 300), ("verb", 97))}


def _class_of(weights: Mapping[str, Tensor], given: Mapping[str, Any]) -> type[nn.Module]:
    """The model by its names; Models 1 and 4 have the same ones where there is no class token."""
    if any(name.startswith("SpatialTransformer/") for name in weights):
        has_time = any(name.startswith("TemporalTransformer/") for name in weights)
        return ViViTFactorizedEncoder if has_time else ViViTAveragePool
    if any("MultiHeadDotProductAttention_space" in name for name in weights):
        return ViViTFactorizedSelfAttention
    if "cls" in weights:
        return ViViTJoint
    if given.get("name") in MODELS:
        named = MODELS[given["name"]][0]()
        if named in (ViViTJoint, ViViTFactorizedDotProduct):
            return named
    raise CheckpointError(
        "without a class token, Model 1 and Model 4 have the same weights: give --model.name, for example "
        "vivit_b16x2_joint (Model 1) or vivit_b16x2_fdp (Model 4)"
    )


def _sizes(weights: Mapping[str, Tensor], model_class: type[nn.Module]) -> dict[str, Any]:
    *time, patch_h, patch_w, channels, width = weights["embedding/kernel"].shape
    spatial = "Transformer" if "Transformer/encoder_norm/scale" in weights else "SpatialTransformer"
    depth, heads, ratio = _encoder(weights, spatial)
    fields: dict[str, Any] = {
        "num_classes": weights["output_projection/kernel"].shape[1],
        "in_channels": channels,
        "tubelet_size": [*(time or [1]), patch_h, patch_w],
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_ratio": ratio,
        # As the original's convolution does, which has no padding. Of sampled frames it cuts a stack of all of them.
        "remainder": "drop" if time else "refuse",
    }
    if "pre_logits/kernel" in weights:
        fields["representation_size"] = weights["pre_logits/kernel"].shape[1]
    if model_class is ViViTFactorizedEncoder:
        depth, heads, ratio = _encoder(weights, "TemporalTransformer")
        fields |= {"temporal_depth": depth, "temporal_num_heads": heads, "temporal_mlp_ratio": ratio}
    return fields


def _encoder(weights: Mapping[str, Tensor], name: str) -> tuple[int, int, float]:
    """Blocks, heads (the middle axis of a query kernel ``[D, heads, head_dim]``) and the MLP's width over D."""
    blocks = {m[1] for n in weights if (m := re.match(rf"{name}/encoderblock_(\d+)/", n))}
    first = {
        n.rsplit("/", 2)[1]: w.shape
        for n, w in weights.items()
        if n.startswith(f"{name}/encoderblock_0/") and n.endswith(("query/kernel", "Dense_0/kernel"))
    }
    _, heads, _ = first["query"]
    width, hidden = first["Dense_0"]
    return len(blocks), heads, hidden / width


def _pooling(weights: Mapping[str, Tensor], model_class: type[nn.Module], notes: list[str]) -> dict[str, Any]:
    if "cls" in weights or "cls_SpatialTransformer" in weights:
        return {"global_pool": "token"}
    notes.append("no class token: the mean over tokens, scenic's default (others: --model.global_pool)")
    return {"global_pool": "avg"}


def _grid(weights: Mapping[str, Tensor], known: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """``num_frames``, ``image_size`` (a square unless given) and sampled frames from the rows of the tables."""
    t, h, w = known["tubelet_size"]
    prefix = int(known["global_pool"] == "token")
    samples_frames = weights["embedding/kernel"].ndim == 4  # patches of single frames: uniform frame sampling
    times = _time_indices(weights, known, prefix, samples_frames)
    if "SpatialTransformer/posembed_input/pos_embedding" in weights:
        per_time = _rows(weights, "SpatialTransformer") - prefix
    else:
        rows = _rows(weights, "Transformer") - prefix
        per_time = rows // times if times and rows % times == 0 else 0
    side = math.isqrt(per_time)
    says_time = "TemporalTransformer/posembed_input/pos_embedding" in weights and not samples_frames
    assumed = times is not None and "num_frames" not in known and "image_size" not in known and not says_time
    if (
        per_time == 0
        or ("image_size" not in known and side * side != per_time)
        or (assumed and not samples_frames and side * h not in _IMAGE_SIZES)
    ):
        raise CheckpointError(
            "the position table does not say how its rows lie in time and space: give --model.num_frames and "
            "--model.image_size"
        )
    frames = known.get("num_frames") or (times * t if times and not samples_frames else _FRAMES)
    if "num_frames" not in known and not says_time and "image_size" not in known:
        notes.append(f"num_frames {frames} as in every published model (another: --model.num_frames)")
    found = {"num_frames": frames, "image_size": known.get("image_size", [side * h, side * w])}
    return found | ({"num_sampled_frames": times} if samples_frames else {})


def _time_indices(
    weights: Mapping[str, Tensor], known: Mapping[str, Any], prefix: int, samples_frames: bool
) -> int | None:
    """Tokens along time; None where the weights hold nothing about it (the average-pool baseline)."""
    t, h, w = known["tubelet_size"]
    if "TemporalTransformer/posembed_input/pos_embedding" in weights:
        return _rows(weights, "TemporalTransformer") - prefix
    if samples_frames:
        if "num_sampled_frames" not in known:
            raise CheckpointError("samples single frames, and not how many: give --model.num_sampled_frames")
        return int(known["num_sampled_frames"])
    if "Transformer/posembed_input/pos_embedding" not in weights:
        return None
    if "image_size" in known:
        height, width = known["image_size"]
        return (_rows(weights, "Transformer") - prefix) // ((height // h) * (width // w))
    return int(known.get("num_frames") or _FRAMES) // t


def _rows(weights: Mapping[str, Tensor], encoder: str) -> int:
    return weights[f"{encoder}/posembed_input/pos_embedding"].shape[1]
