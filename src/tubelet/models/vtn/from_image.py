"""VTN's backbone from any image network of timm: its weights as they are, without its classifier.

The frame encoder starts trained; the encoder over time, what stands between the two and the head are made fresh.
Source: VTN (arXiv 2102.00719) section 3.1; timm for the names and for resizing position tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from tubelet.models.family import nearest_name
from tubelet.models.family_weights import refuse_options
from tubelet.models.vtn.config import DEFAULT_HEADS
from tubelet.models.vtn.model import VTN
from tubelet.models.vtn.variants import MODELS
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.image_model import ImageModel, UnsuitedImageError, grid_of_table
from tubelet.weights.mapping.resample import adapt_channels
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_weights

_FRESH = {
    r"temporal_encoder\..*": "encoder over time: an image network has none",
    r"proj\..*": "between backbone and encoder over time: an image network has none",
    r"head\..*": "classifier: made for the new classes",
}
_DROPPED = {
    r"pre_logits\..*": "layer before the image network's classifier",
    r".*relative_position_index|.*attn_mask": "buffer without learned values",
}
# Files of before 2018 lack this counter of BatchNorm, which evaluation does not read.
_COUNTER = "num_batches_tracked"


def prepare(image: ImageModel) -> ImageModel:
    """A VTN holds an image network whole: nothing changes."""
    return image


def suggest(image: ImageModel) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The named model with this backbone, or the first, with heads for its width; and the size of its pictures.

    Raises:
        UnsuitedImageError: it is not known which network of timm the weights are of.
    """
    if image.architecture is None:
        raise UnsuitedImageError(f"{image.name}: which network of timm these weights are of is not known")
    name = nearest_name(MODELS, VTN, {"backbone": image.architecture})
    _, config_class, own = MODELS[name]
    divides = image.made().head_hidden_size % config_class(**own).num_heads == 0
    heads = {} if divides else {"num_heads": DEFAULT_HEADS}  # which gives way to a divisor
    return {"name": name, **heads}, image.facts.image_size


def backbone_fields(source: ImageModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of VTN's config that come along with the weights: which network they belong to.

    A network that ``given`` names stays; the mapping then says whether the weights fit it.
    """
    if source.architecture is None or given.get("backbone", source.architecture) != source.architecture:
        return {}
    fields: dict[str, Any] = {"backbone": source.architecture}
    options = dict(source.options)
    options.pop("img_size", None)  # VTN makes every network that takes it for the frames of the clip
    # Weights that were trained with the mean of the tokens have another norm than those with a class token.
    if "fc_norm.weight" in source.tensors and getattr(source.made(), "global_pool", None) == "token":
        options["global_pool"] = "avg"
    if options:
        fields["backbone_fields"] = options
    return {name: value for name, value in fields.items() if name not in given}


def from_network(source: ImageModel, model: VTN, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VTN whose backbone is an image network, and the report of the mapping.

    Raises:
        CheckpointError: any tensor of the backbone is missing, left over or of another shape.
        ConfigError: an option that means nothing for VTN.
    """
    refuse_options(init, "VTN")
    backbone, notes = model.backbone, list(source.notes)
    config: Mapping[str, Any] = backbone.pretrained_cfg
    changed = _first_layer(source, model, config, notes) | _positions(source, backbone, notes)
    names = list(backbone.state_dict())
    rules = [Rule(f"backbone.{name}", (name,), changed.get(name, SAME)) for name in names]
    counters = [n for n in names if n.endswith(_COUNTER) and n not in source.tensors]
    fresh = _FRESH | {re.escape(f"backbone.{n}"): "counter of batches, which the file does not have" for n in counters}
    dropped = _DROPPED | {rf"{re.escape(name)}\..*": "classifier of the image network" for name in _classifiers(config)}
    if source.architecture not in (None, model.config.backbone):
        notes.append(
            f"the weights are those of {source.architecture}, the recipe's backbone is {model.config.backbone}"
        )
    return map_weights(source.tensors, model, rules, dropped, fresh, notes)


def _classifiers(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _first_layer(source: ImageModel, model: VTN, config: Mapping[str, Any], notes: list[str]) -> dict[str, Operation]:
    """The first convolution for the channels of the clip, where they are others than the image network's."""
    first = config.get("first_conv")
    name = f"{first}.weight"
    if not isinstance(first, str) or name not in source.tensors or source.tensors[name].ndim != 4:
        return {}
    old, new = source.tensors[name].shape[1], model.config.in_channels
    if old == new:
        return {}
    notes.append(f"channels: {old} of the image network resampled to {new}")
    return {name: Operation(f"{old} -> {new} channels", lambda kernel: adapt_channels(kernel, new))}


def _positions(source: ImageModel, backbone: Any, notes: list[str]) -> dict[str, Operation]:
    """A ViT's position table for the grid of the clip's frames (bicubic, as timm does it)."""
    table = source.tensors.get("pos_embed")
    own = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if table is None or table.ndim != 3 or own is None:
        return {}
    new = (own[0], own[1])
    prefix = backbone.pos_embed.shape[1] - new[0] * new[1]  # rows of tokens without a place: not every network has any
    old = grid_of_table(table.shape[1], prefix, new, source.facts.grid)
    if old == new:
        return {}
    change = f"{old[0]}x{old[1]} resized to {new[0]}x{new[1]} (bicubic)"
    notes.append(f"positions: grid {change}")

    def forward(table: Tensor) -> Tensor:
        return resample_abs_pos_embed(table, list(new), list(old), prefix)

    return {"pos_embed": Operation(change, forward)}
