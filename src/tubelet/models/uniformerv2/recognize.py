"""Which UniFormerV2 a set of official weights is, and the protocol that belongs to it.

Source: OpenGVLab/UniFormerV2, commit 722a4344, ``exp/*/config.yaml``, ``exp/*/run.sh``, ``MODEL_ZOO.md`` and
``slowfast/datasets``. Names and shapes show nearly all of a configuration; what they leave open is assumed as in every
released model, and said in the notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.variants import MODELS
from tubelet.protocol import Protocol

_HEAD_DIM = 64  # of CLIP's image towers
_SOMETHING_SOMETHING = 174  # classes of both its versions
_UNTRIMMED = 200  # classes of ActivityNet and of HACS


def model_of(source: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that official weights are of, and what was assumed.

    Args:
        source: tensors under the official names.
        given: ``name`` and fields that are set by hand, for example ``num_frames``.

    Raises:
        CheckpointError: these are not weights of a UniFormerV2.
    """
    fields, notes = _fields_of(source)
    model_class: type[nn.Module] = UniFormerV2Local if "num_local" in fields else UniFormerV2
    fields |= {key: value for key, value in given.items() if key != "name"}
    if "num_frames" not in given:
        fields["num_frames"] = 16 if model_class is UniFormerV2Local else 8
        notes.append(f"num_frames={fields['num_frames']}: weights do not show it (--model.num_frames)")
    if "num_heads" not in given:
        notes.append(f"num_heads={fields['num_heads']}: heads of {_HEAD_DIM} channels, as in every released model")
    name = given.get("name") or nearest_name(MODELS, model_class, fields)
    return str(name), fields, notes


def _fields_of(source: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[str]]:
    needed = ("conv1.weight", "positional_embedding", "transformer.proj.2.weight", "transformer.dec.0.mlp.c_fc.weight")
    absent = [name for name in needed if name not in source]
    if absent:
        raise CheckpointError(f"no weights of a UniFormerV2: {absent[0]} is missing (or with 'backbone.' before it)")
    stem, patches = source["conv1.weight"], len(source["positional_embedding"]) - 1
    if stem.ndim != 5 or math.isqrt(patches) ** 2 != patches:
        raise CheckpointError(
            f"no weights of a UniFormerV2: conv1.weight is {tuple(stem.shape)} with {patches} positions of patches; "
            "expected a 3-D kernel and a square grid"
        )
    width, patch, side = len(stem), stem.shape[-1], math.isqrt(patches) * stem.shape[-1]
    num_global = _count(source, r"transformer\.dec\.(\d+)\.")
    fields: dict[str, Any] = {
        "num_classes": len(source["transformer.proj.2.weight"]),
        "in_channels": stem.shape[1],
        "image_size": (side, side),
        "patch_size": patch,
        "embed_dim": width,
        "depth": _count(source, r"transformer\.resblocks\.(\d+)\."),
        "num_heads": max(1, width // _HEAD_DIM),
        "global_layers": num_global,
        "global_mlp_ratio": len(source["transformer.dec.0.mlp.c_fc.weight"]) / width,
        "frozen": "transformer.balance" not in source,
        "remainder": "drop",  # as the original's convolution does, which has no padding
    }
    notes = [f"global blocks on the last {num_global} layers: weights do not show it (--model.global_layers)"]
    reduced = source.get("transformer.resblocks.0.lmhra1.pos_embed.1.weight")
    if reduced is not None or stem.shape[2] > 1:
        fields |= {"temporal_downsample": stem.shape[2] > 1, "local_layers": None if reduced is not None else 0}
        fields |= {"stem_kernel": stem.shape[2] if stem.shape[2] > 1 else 3}
        fields["num_local"] = 2 if "transformer.resblocks.0.lmhra2.pos_embed.1.weight" in source else 1
        if fields["frozen"]:
            fields["drop_path_rate"] = 0.0
            notes.append("frozen: the temporal stem and branches in the image ViT keep their weights in training too")
    if reduced is not None:
        fields["dw_reduction"] = 1.5 if int(width // 1.5) == len(reduced) else width / len(reduced)
    return fields, notes


def _count(source: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that stands in a name."""
    found = (re.match(pattern, name) for name in source)
    return max((int(match[1]) for match in found if match), default=-1) + 1


def protocol_of(config: UniFormerV2Config, of_mmaction2: bool = False) -> tuple[Protocol, list[str]]:
    """How the released models were trained and tested, and what of it was concluded rather than written."""
    side = min(config.image_size)
    trained_on_bgr = (
        isinstance(config, UniFormerV2LocalConfig) and config.num_classes == _SOMETHING_SOMETHING and not of_mmaction2
    )
    views, crops = _views(config)
    protocol = Protocol(
        num_frames=config.num_frames,
        sampling="sparse",
        resize_short_side=side,
        crop_size=config.image_size,
        channel_order="bgr" if trained_on_bgr else "rgb",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        num_temporal_views=views,
        num_spatial_crops=crops,
        averaging="probs",
    )
    notes = [f"views {protocol.views_text}: those of the released model with so many classes and frames"]
    if trained_on_bgr:
        notes.append(
            "channel_order=bgr: the official loader of Something-Something reads frames with OpenCV and does not "
            "convert them (read in its source, not tested against its weights)"
        )
    return protocol, notes


def _views(config: UniFormerV2Config) -> tuple[int, Any]:
    """Temporal views and spatial crops as in the published table of models."""
    if config.num_classes == _SOMETHING_SOMETHING:
        return 1, 3
    if config.num_classes == _UNTRIMMED:
        return 10, 3
    if config.frozen:
        return 3, 1
    return (4 if config.num_frames <= 16 else 2), 3
