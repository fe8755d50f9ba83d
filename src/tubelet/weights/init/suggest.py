"""Model and protocol for first weights, where a user names neither: those that the weights were made for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from tubelet import config as config_io
from tubelet.models import MODELS, model_config
from tubelet.models.uniformerv2.init import fields_of_trunk, holds_trunk
from tubelet.models.uniformerv2.model import UniFormerV2
from tubelet.models.vivit.model import ViViTFactorizedEncoder
from tubelet.models.vtn.model import VTN
from tubelet.weights.init.image_network import ImageNetwork
from tubelet.weights.init.image_vit import ImageViT
from tubelet.weights.init.source import InitSource
from tubelet.weights.init.video import VideoSource
from tubelet.weights.mapping.converter import nearest_name

_HEAD_DIM = 64  # channels of a head where an encoder's width asks for another number of them


def suggested_recipe(source: InitSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``model`` and ``protocol`` parts of a recipe.

    A checkpoint has both. An image ViT becomes the factorized encoder of its size with tubelets of two frames; one that
    ViViT has no place for (CLIP, BEiT) the trunk of a UniFormerV2; any other image network the backbone of a VTN; each
    on pictures of the size and pixels that it was made for.
    """
    if isinstance(source, VideoSource):
        protocol = config_io.to_dict(source.protocol)
        return {"name": source.model_name}, {
            key: value for key, value in protocol.items() if key not in ("labels", "multi_label")
        }
    if isinstance(source, ImageViT):
        return _vivit(source), _pictures(source, source.config.image_size)
    model = _uniformerv2(source) if holds_trunk(source) else _vtn(source)
    return model, _pictures(source, source.image_size)


def _vivit(source: ImageViT) -> dict[str, Any]:
    config = source.config
    fields: dict[str, Any] = {name: getattr(config, name) for name in ("embed_dim", "depth", "num_heads", "mlp_ratio")}
    _, height, width = config.tubelet_size
    return _named(ViViTFactorizedEncoder, {**fields, "tubelet_size": [2, height, width]})


def _uniformerv2(source: ImageNetwork) -> dict[str, Any]:
    """The style of the trunk comes along whatever the model (see ``model_fields``)."""
    known = fields_of_trunk(source)
    return _named(UniFormerV2, {name: known[name] for name in known if name not in ("trunk", "image_size")})


def _vtn(source: ImageNetwork) -> dict[str, Any]:
    """Of the named models the one with this backbone, or the first, with heads for its width."""
    fields: dict[str, Any] = {"backbone": source.architecture}
    name = nearest_name(VTN, fields)
    width, heads = source.made().head_hidden_size, model_config(name).num_heads
    if width % heads:
        fields["num_heads"] = math.gcd(width, width // _HEAD_DIM) if width >= _HEAD_DIM else 1
    return {"name": name, **{key: value for key, value in fields.items() if key == "num_heads"}}


def _named(model_class: type[nn.Module], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The nearest named model, and the fields that differ from its own."""
    name = nearest_name(model_class, fields)
    own = config_io.to_dict(MODELS[name][1](**MODELS[name][2]))
    return {"name": name, **{key: value for key, value in fields.items() if own[key] != value}}


def _pictures(source: ImageViT | ImageNetwork, size: tuple[int, int] | None) -> dict[str, Any]:
    protocol: dict[str, Any] = {}
    if size is not None:
        longer = max(size)  # so that the crop fits into a video of any shape
        protocol |= {"crop_size": list(size), "resize_short_side": round(longer * 256 / 224)}
    for key in ("mean", "std"):
        if (value := getattr(source, key)) is not None:
            protocol[key] = list(value)
    return protocol
