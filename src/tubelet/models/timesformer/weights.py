"""Names and layouts of TimeSformer's released weights for tubelet's TimeSformer, and its start from an image ViT.

Source: facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py`` (names), ``helpers.py``
(``load_pretrained``: the start from timm's ViT). Released files keep the state dict under ``model_state`` with
``model.`` before every name. Code and weights are licensed CC-BY-NC 4.0, which the record says.

The original resizes a position table that an image ViT has for another grid along one axis, over patches in reading
order, which scrambles places as soon as the width changes.

Deviation: here it is resized over the grid (nearest row, as the model itself does for another clip) unless
``position_resize="flat"`` asks for the original's rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model, model_config
from tubelet.models.timesformer.model import TimeSformer, TimeSformerDivided
from tubelet.models.timesformer.recognize import model_of, protocol_of
from tubelet.models.vivit.init import InitConfig
from tubelet.nn.position import nearest_positions
from tubelet.weights.init.image_network import timm_names
from tubelet.weights.init.image_vit import ImageViT
from tubelet.weights.mapping.converter import Converted, ConvertOptions, as_converted, choose_labels, protocol_with
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.resample import adapt_channels, resample_patch
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights

LICENSE = "cc-by-nc-4.0"

TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
TABLE = Operation("1 rows D -> rows D", lambda x: x.squeeze(0), lambda x: (x[None],))
_COPIED = Operation("copied to attention over time", lambda x: x)

_NO_TIME = {
    r"blocks\.\d+\.temporal_fc\..*": "an image model has none: zero, so that attention over time starts by adding "
    "nothing",
    r"time_embed\.table": "an image model has none: zero",
}
_FRESH_HEAD = {r"head\..*": "classifier: made for the new classes"}
_DROPPED = {r"pre_logits\..*": "layer before the image model's classifier, which TimeSformer has not"}
_DROPPED_HEAD = {r"head\..*": "classifier of the image model"}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released file (``.pyth``).

    Raises:
        CheckpointError: unreadable, no TimeSformer, or weights that do not fit strictly.
    """
    try:
        source = {name.removeprefix("model."): tensor for name, tensor in read_weights(path).items()}
        name, fields, notes = model_of(source, options.model)
        model = create_model(name, **fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model.load_state_dict(state)
    config = model_config(name, fields)
    labels, labels_from = choose_labels(config.num_classes, options.labels, None)
    protocol, protocol_notes = protocol_of(config)
    provenance = {
        "source": "timesformer",
        "original": "facebookresearch/TimeSformer",
        "license": LICENSE,
        "labels_from": labels_from,
        "model_notes": notes,
        "protocol_notes": protocol_notes,
    }
    return as_converted(name, model, report, protocol_with(protocol, options, labels), provenance)


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet TimeSformer from the official parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    return map_weights(source, model, timesformer_rules())


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters under the official names, from a tubelet TimeSformer.

    Raises:
        CheckpointError: a model that the official code does not have.
    """
    return map_back(model.state_dict(), timesformer_rules())


def timesformer_rules() -> list[Rule]:
    """Most names are the original's, which are timm's; tables and the class token lose their axes of length 1."""
    block = "blocks.{i}"
    layers = [
        *("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"),
        *("temporal_norm1", "temporal_attn.qkv", "temporal_attn.proj", "temporal_fc"),
    ]
    return [
        Rule("cls_token", ("cls_token",), TOKEN),
        Rule("pos_embed.table", ("pos_embed",), TABLE),
        Rule("time_embed.table", ("time_embed",), TABLE),
        *_both("tokenizer.proj", "patch_embed.proj"),
        *(rule for layer in layers for rule in _both(f"{block}.{layer}", f"{block}.{layer}")),
        *_both("norm", "norm"),
        *_both("head", "head"),
    ]


def from_image(image: ImageViT, model: TimeSformer, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet TimeSformer that starts from an image ViT, as a recipe's ``init`` asks for it.

    Raises:
        CheckpointError: a model without a class token, or of another width or depth.
        ConfigError: an option that is for ViViT alone.
    """
    plain = InitConfig(source=init.source, image_grid=init.image_grid, keep_head=init.keep_head)
    other = next((f.name for f in dataclasses.fields(init) if getattr(init, f.name) != getattr(plain, f.name)), None)
    if other is not None:
        raise ConfigError(f"init.{other} is for ViViT; a TimeSformer starts in one way: leave it out")
    if not image.has_class_token:
        raise CheckpointError(f"{image.name} has no class token, which a TimeSformer starts from")
    source = timm_names(image)
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
        image_grid: patches (h, w) of its position table; none: a square.
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
    pairs = [(f"blocks.{{i}}.{t}.{kind}", f"blocks.{{i}}.{s}.{kind}") for t, s in layers.items() for kind in _KINDS]
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


_KINDS = ("weight", "bias")


def _both(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.{kind}", (f"{source}.{kind}",), SAME) for kind in _KINDS]
