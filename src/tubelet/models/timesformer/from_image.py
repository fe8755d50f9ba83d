"""TimeSformer from an image ViT, from timm's names to its own.

Source: facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/helpers.py`` (``load_pretrained``: the start
from timm's ViT).

The original resizes a position table that an image ViT has for another grid along one axis, over patches in reading
order, which scrambles places as soon as the width changes.

Deviation: here it is resized over the grid (nearest row, as the model itself does for another clip) unless
``position_resize="flat"`` asks for the original's rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.timesformer.model import TimeSformer, TimeSformerDivided
from tubelet.models.timesformer.weights import KINDS, timesformer_rules
from tubelet.nn.position import nearest_positions
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.image_model import ImageModel
from tubelet.weights.mapping.plain_vit import PlainViT, plain_vit
from tubelet.weights.mapping.resample import adapt_channels, resample_patch
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights

_COPIED = Operation("copied to attention over time", lambda x: x)

_NO_TIME = {
    r"blocks\.\d+\.temporal_fc\..*": "an image model has none: zero, so that attention over time starts by adding "
    "nothing",
    r"time_embed\.table": "an image model has none: zero",
}
_FRESH_HEAD = {r"head\..*": "classifier: made for the new classes"}
_DROPPED = {r"pre_logits\..*": "layer before the image model's classifier, which TimeSformer has not"}
_DROPPED_HEAD = {r"head\..*": "classifier of the image model"}


def prepare(image: ImageModel) -> PlainViT:
    """The plain ViT that a TimeSformer starts from.

    Raises:
        CheckpointError: the image model is no plain ViT, or not fully described.
    """
    return plain_vit(image, "TimeSformer")


def fields(image: PlainViT, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the config that come along with the weights, where ``given`` does not set them."""
    return {name: value for name, value in image.function_fields.items() if name not in given}


def from_image(image: PlainViT, model: TimeSformer, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet TimeSformer that starts from an image ViT, as a recipe's ``init`` asks for it.

    Raises:
        CheckpointError: a model without a class token, or of another width or depth.
        ConfigError: an option that is for ViViT alone.
    """
    if other := [name for name in init.changed() if name not in ("image_grid", "keep_head")]:
        raise ConfigError(f"init.{other[0]} is for ViViT; a TimeSformer starts in one way: leave it out")
    if not image.has_class_token:
        raise CheckpointError(f"{image.name} has no class token, which a TimeSformer starts from")
    source = dict(image.tensors)
    kernel = adapt_channels(source["patch_embed.proj.weight"], model.config.in_channels)
    source["patch_embed.proj.weight"] = resample_patch(kernel, (model.config.patch_size,) * 2)
    state, report = from_image_vit(source, model, image_grid=image.grid, keep_head=init.keep_head)
    return state, dataclasses.replace(report, notes=(*image.notes, *report.notes))


def from_image_vit(
    source: Mapping[str, Tensor],
    model: TimeSformer,
    *,
    keep_head: bool,
    image_grid: tuple[int, int] | None = None,
    position_resize: Literal["grid", "flat"] = "grid",
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet TimeSformer that starts as an image ViT on every frame.

    In a divided model attention over time starts as a copy of attention over space, its last layer (``temporal_fc``)
    and the table of times at zero.

    Args:
        source: an image ViT under timm's names.
        keep_head: take its classifier along; else the head stays as the model has it.
        image_grid: patches (h, w) of its position table; None means a square.
        position_resize: how a position table of another grid is resized; "flat" is the original's way.

    Raises:
        CheckpointError: no image ViT, one of another width or depth, or a table that belongs to no square grid.
    """
    if "patch_embed.proj.weight" not in source or "pos_embed" not in source:
        raise CheckpointError(
            f"no image ViT: expected names of timm (patch_embed.proj.weight, pos_embed), found {', '.join(source)[:80]}"
        )
    resized, notes = _resized(source["pos_embed"], image_grid, model.config.grid, position_resize)
    rules = [*(_copied_to_time() if isinstance(model, TimeSformerDivided) else []), *timesformer_rules()]
    fresh = _NO_TIME if keep_head else {**_NO_TIME, **_FRESH_HEAD}
    dropped = _DROPPED if keep_head else {**_DROPPED, **_DROPPED_HEAD}
    state, report = map_weights({**source, "pos_embed": resized}, model, rules, dropped, fresh, notes)
    zero = [name for name in report.fresh if not name.startswith("head.")]
    return state | {name: torch.zeros_like(state[name]) for name in zero}, report


def _copied_to_time() -> list[Rule]:
    layers = {"temporal_norm1": "norm1", "temporal_attn.qkv": "attn.qkv", "temporal_attn.proj": "attn.proj"}
    pairs = [(f"blocks.{{i}}.{t}.{kind}", f"blocks.{{i}}.{s}.{kind}") for t, s in layers.items() for kind in KINDS]
    return [Rule(target, (source,), _COPIED) for target, source in pairs]


def _resized(
    table: Tensor, old: tuple[int, int] | None, new: tuple[int, int], how: Literal["grid", "flat"]
) -> tuple[Tensor, list[str]]:
    """The image model's table ``[1, 1+S, D]`` for the grid ``new``, and what was done to it."""
    rows = table.shape[1] - 1
    side = math.isqrt(rows)
    if old is None and side * side != rows:
        raise CheckpointError(f"pos_embed has {rows} rows for patches, which is no square grid")
    old = old or (side, side)
    if old == new:
        return table, []
    note = f"position table of {old[0]}x{old[1]} places resized to {new[0]}x{new[1]}"
    if how == "grid":
        return nearest_positions(table[0], (1, *old), (1, *new), num_prefix=1)[None], [note]
    flat = F.interpolate(table[:, 1:].mT, size=new[0] * new[1], mode="nearest").mT
    note += " along one axis, as the original does; its places are scrambled"
    return torch.cat([table[:, :1], flat], dim=1), [note]
