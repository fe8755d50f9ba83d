"""Which VideoPrism a tree of official parameters is, from names and shapes, and the protocol of its data.

Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/models.py`` (sizes) and ``colabs/`` (frames and
pixels). The cap of the scores is in no weight: 50 in every released model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.videoprism.config import VideoPrismConfig
from tubelet.models.videoprism.model import VideoPrism, VideoPrismTower
from tubelet.models.videoprism.variants import MODELS
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import ConvertOptions

_CHANNELS = 3  # of every released model; a kernel's rows are pixels x channels


def model_of(source: Mapping[str, Tensor], options: ConvertOptions) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that official parameters belong to, and what was taken for granted.

    Args:
        source: official names without ``params/`` before them.
        options: ``model`` with name and fields that a user sets; they win over what is inferred.

    Raises:
        CheckpointError: no VideoPrism, or one without a classifier where no classes are given.
    """
    where = next((w for w in ("", "encoder/", "vision_encoder/") if f"{w}spatial_pos_emb/emb_var" in source), None)
    if where is None:
        raise CheckpointError(
            f"no VideoPrism: expected spatial_pos_emb/emb_var, found {', '.join(list(source)[:4])}, ..."
        )
    model_class: type[nn.Module] = VideoPrismTower if where == "vision_encoder/" else VideoPrism
    try:
        fields = _sizes(source, where)
        fields |= _classes(source, options)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"names or shapes are not those of a VideoPrism ({error})") from None
    notes = []
    if "soft_cap" not in options.model:
        notes.append("soft_cap 50 as in every released model: weights do not hold it (--model.soft_cap)")
    fields |= {key: value for key, value in options.model.items() if key != "name"}
    side = math.isqrt(len(source[f"{where}spatial_pos_emb/emb_var"]))
    if "image_size" not in options.model and side * side != len(source[f"{where}spatial_pos_emb/emb_var"]):
        raise CheckpointError("the table of places is no square: give --model.image_size H,W")
    return options.model.get("name") or nearest_name(MODELS, model_class, fields), fields, notes


def _sizes(source: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    rows, width = source[f"{where}patch_projection/linear/kernel"].shape
    patch = math.isqrt(rows // _CHANNELS)
    side = math.isqrt(len(source[f"{where}spatial_pos_emb/emb_var"]))
    stack = "transformers_stack/x_layers"
    depth, _, heads, _ = source[f"{where}spatial_encoder/{stack}/self_attention/query/w"].shape
    hidden = source[f"{where}spatial_encoder/{stack}/ff_layer/ffn_layer1/linear/kernel"].shape[2]
    fields: dict[str, Any] = {
        "num_frames": len(source[f"{where}temporal_pos_emb/emb_var"]),
        "image_size": [side * patch, side * patch],
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "temporal_depth": len(source[f"{where}temporal_encoder/{stack}/self_attention/query/w"]),
        "num_heads": heads,
        "mlp_ratio": hidden / width,
    }
    for pool, usual in (("atten_pooler", width), ("contrastive_vision_pooler", 4 * width)):
        if (kernel := source.get(f"{pool}/pooling_attention/key/w")) is not None:
            pool_width = kernel.shape[1] * kernel.shape[2]
            fields["pool_dim"] = None if pool_width == usual else pool_width
    if f"auxiliary_encoder/{stack}/self_attention/query/w" in source:
        fields["auxiliary_depth"] = len(source[f"auxiliary_encoder/{stack}/self_attention/query/w"])
    return fields


def _classes(source: Mapping[str, Tensor], options: ConvertOptions) -> dict[str, Any]:
    if "projection/linear/kernel" in source:
        return {"num_classes": source["projection/linear/kernel"].shape[1]}
    return {"num_classes": given_classes(options)}


def given_classes(options: ConvertOptions) -> int:
    """How many classes a classifier is made for that the source does not have.

    Raises:
        CheckpointError: the user does not say.
    """
    if isinstance(options.labels, Mapping):
        return sum(map(len, options.labels.values()))
    if options.labels is not None:
        return len(options.labels)
    if "num_classes" in options.model:
        return int(options.model["num_classes"])
    raise CheckpointError(
        "has no classifier, so it cannot predict: give --labels FILE with the classes that you will train; the "
        "classifier is made fresh for them, and --init starts the training from the result"
    )


def fresh_classifier(has_pool: bool, has_head: bool) -> dict[str, str]:
    """What the source does not have, for the report."""
    fresh = {} if has_head else {r"head\..*": "the source has no classifier: to be trained"}
    return fresh if has_pool else {**fresh, r"pool\..*": "the source is an encoder without pooling: to be trained"}


def protocol_of(config: VideoPrismConfig) -> tuple[Protocol, list[str]]:
    """How the official demonstrations prepare a video, and what of it was concluded rather than written."""
    height, width = config.image_size
    protocol = Protocol(
        num_frames=config.num_frames,
        sampling="segment_start",
        frame_stride=None,
        resize_short_side=min(height, width),
        crop_size=(height, width),
        num_channels=config.in_channels,
        mean=(0.0,) * config.in_channels,
        std=(1.0,) * config.in_channels,
        num_temporal_views=1,
        num_spatial_crops=1,
    )
    return protocol, [
        f"{config.num_frames} frames spread over the whole video, pixels from 0 to 1, as in the demonstrations",
        "the shorter side is resized and the rest cropped, as the demonstration of a classifier does; that of the "
        "encoder refuses pictures that are no squares",
    ]
