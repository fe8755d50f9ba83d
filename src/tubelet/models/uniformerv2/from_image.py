"""UniFormerV2's trunk from an image ViT of any pretraining, from timm's names to its own.

The style of a trunk (``TrunkStyle``) decides which function its weights compute, so it comes along with them. Weights
alone do not say the activation and the epsilon of the norms, which are then taken for granted and noted.

Source: for CLIP OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py`` (``inflate_weight``);
for the others timm's ``vision_transformer.py``, ``deit.py`` and ``beit.py``. The patch kernel goes to the middle of the
stem's kernel over time, zeros to the rest, so that a fresh model sees single frames. Final norms, projections and
classifiers of the image model are dropped; what it has no counterpart of stays as the fresh model has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from tubelet import config as config_io
from tubelet.errors import CheckpointError
from tubelet.models.family import named_fields
from tubelet.models.family_weights import refuse_options
from tubelet.models.uniformerv2.config import TrunkStyle
from tubelet.models.uniformerv2.image_trunk import ImagePositions
from tubelet.models.uniformerv2.local_block import RelativeAttention
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.trunk_fields import OF_CLIP, fields_of_trunk
from tubelet.models.uniformerv2.variants import MODELS
from tubelet.models.uniformerv2.weights import both
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.image_model import ImageModel, grid_of_table
from tubelet.weights.mapping.resample import adapt_channels
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights

_SIZES = ("embed_dim", "depth", "num_heads", "patch_size")
_RELATIVE = "blocks.0.attn.relative_position_bias_table"  # of BEiT, in place of a table of positions

_FRESH = {
    r"trunk\.blocks\.\d+\.local\d\..*": "temporal branch: an image model has none, it starts by adding nothing",
    r"(fusion|pool|norm|head)\..*": "video part: an image model has none",
}
_DROPPED = {
    r"(norm|fc_norm)\..*": "final norm: the video model has its own before its head",
    r"head\..*|head_dist\..*|pre_logits\..*": "classifier of the image model",
    r"attn_pool\..*": "behind the blocks: the video model has a head of its own",
    r".*relative_position_index|.*attn\.k_bias": "buffer without learned values",
}


def prepare(image: ImageModel) -> ImageModel:
    """The trunk holds an image ViT whole: nothing changes.

    Raises:
        UnsuitedImageError: it is no ViT with a class token.
    """
    fields_of_trunk(image)
    return image


def fields(image: ImageModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``trunk`` that comes along with the weights, where ``given`` does not set its fields."""
    style, asked = fields_of_trunk(image)["trunk"], given.get("trunk", {})
    return {"trunk": {name: value for name, value in style.items() if name not in asked}}


def suggest(image: ImageModel) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The model of the image ViT's size, and the size of its pictures; the style of the trunk comes along anyway.

    Raises:
        UnsuitedImageError: as ``prepare``.
    """
    known = fields_of_trunk(image)
    return named_fields(MODELS, UniFormerV2, {n: v for n, v in known.items() if n != "trunk"}), image.facts.image_size


def from_image(
    image: ImageModel, model: UniFormerV2 | UniFormerV2Local, init: InitConfig
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet UniFormerV2 whose trunk is an image model, and the report of the mapping.

    Raises:
        CheckpointError: another kind of network, or one of another size.
        ConfigError: an option that means nothing for UniFormerV2.
    """
    refuse_options(init, "UniFormerV2")
    fields = fields_of_trunk(image)
    config = model.config
    differ = [name for name in _SIZES if name in fields and fields[name] != getattr(config, name)]
    if differ:
        theirs, ours = (", ".join(f"{n} {v[n]}" for n in differ) for v in (fields, vars(config)))
        hint = " ".join(f"--model.{name} {fields[name]}" for name in differ)
        raise CheckpointError(
            f"the image model {image.name} has {theirs}, the video model {ours}; choose a model of the same size, or "
            f"set {hint}"
        )
    try:
        state, report = from_image_tensors(image.tensors, model, image.facts.grid)
    except CheckpointError as error:
        raise CheckpointError(f"{image.name}: {error}") from None
    notes = (*image.notes, *_notes(image, fields, model), *report.notes)
    return state, dataclasses.replace(report, notes=notes)


def from_image_tensors(
    source: Mapping[str, Tensor], model: UniFormerV2 | UniFormerV2Local, image_grid: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet UniFormerV2 whose trunk is an image ViT under timm's names, and the report.

    Args:
        model: made for this kind of image model (see ``trunk_fields``). Another size is interpolated, the kernel
            for another number of channels resampled.
        image_grid: patches (h, w) of the image model's position table; None means the model's own, or a square.

    Raises:
        CheckpointError: not an image ViT, or one of another size or kind than the model's trunk.
    """
    if "patch_embed.proj.weight" not in source:
        raise CheckpointError(
            "no image ViT: expected names of timm (patch_embed.proj.weight) or of CLIP (visual.conv1.weight), "
            f"found {', '.join(list(source)[:3])}"
        )
    notes: list[str] = []
    stem = model.trunk.stem.proj
    changed = {"trunk.stem.proj.weight": _inflated(stem.kernel_size[0], stem.in_channels)}
    old_channels = source["patch_embed.proj.weight"].shape[1]
    if old_channels != stem.in_channels:
        notes.append(f"channels: {old_channels} of the image model resampled to {stem.in_channels}")
    changed |= _resized(source, model, image_grid, notes)
    rules = [
        dataclasses.replace(rule, operation=changed.get(rule.target, rule.operation))
        for rule in timm_rules("blocks.0.attn.q_bias" in source)
    ]
    return map_weights(source, model, rules, _DROPPED, _FRESH, notes)


def timm_rules(of_beit: bool) -> list[Rule]:
    """The trunk under timm's names; BEiT names its biases and scales differently."""
    block = "blocks.{i}"
    rules = [
        *both("trunk.stem.proj", "patch_embed.proj"),
        Rule("trunk.cls_token", ("cls_token",), Operation("1 1 D -> D", lambda x: x.flatten())),
        Rule("trunk.pos_embed.table", ("pos_embed",)),
        *both("trunk.norm_pre", "norm_pre"),
    ]
    for part in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        rules += both(f"trunk.{block}.{part}", f"{block}.{part}")
    rules.append(Rule(f"trunk.{block}.attn.qkv.weight", (f"{block}.attn.qkv.weight",)))
    if not of_beit:
        rules.append(Rule(f"trunk.{block}.attn.qkv.bias", (f"{block}.attn.qkv.bias",)))
        return [*rules, *(Rule(f"trunk.{block}.ls{n}.gamma", (f"{block}.ls{n}.gamma",)) for n in (1, 2))]
    return [
        *rules,
        *(Rule(f"trunk.{block}.ls{n}.gamma", (f"{block}.gamma_{n}",)) for n in (1, 2)),
        Rule(f"trunk.{block}.attn.qkv.bias", (f"{block}.attn.q_bias", f"{block}.attn.v_bias"), _QUERY_AND_VALUE),
        Rule(f"trunk.{block}.attn.bias_table", (f"{block}.attn.relative_position_bias_table",)),
    ]


# A bias of keys moves all scores of a query alike and cancels in the softmax: none is the same as zero.
_QUERY_AND_VALUE = Operation("query, 0 for keys, value", lambda q, v: torch.cat([q, torch.zeros_like(q), v]))


def _inflated(frames: int, channels: int) -> Operation:
    """A 2-D kernel in the middle of one over ``frames`` frames."""

    def forward(x: Tensor) -> Tensor:
        before = frames // 2
        return F.pad(adapt_channels(x, channels).unsqueeze(2), (0, 0, 0, 0, before, frames - 1 - before))

    return Operation(f"D C p p -> D C {frames} p p, in the middle", forward)


def _resized(
    source: Mapping[str, Tensor],
    model: UniFormerV2 | UniFormerV2Local,
    image_grid: tuple[int, int] | None,
    notes: list[str],
) -> dict[str, Operation]:
    """How the tables of positions come to the model's grid; ``notes`` gets a line for each that is resized."""
    changed, table, attn = {}, model.trunk.pos_embed, model.trunk.blocks[0].attn
    if isinstance(table, ImagePositions) and "pos_embed" in source:
        old = grid_of_table(source["pos_embed"].shape[-2], int(table.with_class), table.grid, image_grid)
        changed["trunk.pos_embed.table"] = _positions(old, table.grid, table.with_class)
        if old != table.grid:
            notes.append(f"positions: grid {old[0]}x{old[1]} resized to {table.grid[0]}x{table.grid[1]} (bicubic)")
    if isinstance(attn, RelativeAttention):
        bias = source.get(_RELATIVE, attn.bias_table)
        if len(bias) != len(attn.bias_table):
            side = round((len(bias) - 3) ** 0.5)
            changed["trunk.blocks.{i}.attn.bias_table"] = _offsets((side, side), attn.grid)
            notes.append(f"relative positions: {side}x{side} offsets resized to the grid {attn.grid} (bicubic)")
    return changed


def _positions(old: tuple[int, int], new: tuple[int, int], with_class: bool) -> Operation:
    def forward(x: Tensor) -> Tensor:
        table = x if x.ndim == 3 else x[None]
        if old == new:
            return table[0]
        return resample_abs_pos_embed(table, list(new), list(old), int(with_class))[0]

    resized = "" if old == new else f", {old[0]}x{old[1]} -> {new[0]}x{new[1]}"
    return Operation(f"1 rows D -> rows D{resized}", forward)


def _offsets(old: tuple[int, int], grid: tuple[int, int]) -> Operation:
    new = (2 * grid[0] - 1, 2 * grid[1] - 1)

    def forward(x: Tensor) -> Tensor:
        maps = rearrange(x[:-3], "(h w) heads -> 1 heads h w", h=old[0])
        maps = F.interpolate(maps, size=new, mode="bicubic", align_corners=False)
        return torch.cat([rearrange(maps, "1 heads h w -> (h w) heads"), x[-3:]])

    return Operation(f"offsets {old[0]}x{old[1]} -> {new[0]}x{new[1]}", forward)


def _notes(image: ImageModel, fields: Mapping[str, Any], model: UniFormerV2 | UniFormerV2Local) -> list[str]:
    style: TrunkStyle = model.config.trunk
    notes = []
    assumed = [name for name in OF_CLIP if getattr(image.facts, name) is None]
    if assumed:
        listed = ", ".join(f"{name}={getattr(style, name)}" for name in assumed)
        notes.append(f"{listed} taken for granted, not in the weights: {_alternative(style, assumed)}")
    if "num_heads" not in fields:
        notes.append(f"num_heads is not in the image model's weights: {model.config.num_heads} of the video model")
    for name, value in fields["trunk"].items():
        ours = config_io.to_dict(style)[name]
        if name not in (*assumed, "layer_scale") and value != ours:
            notes.append(f"{name}: the image model was trained with {value}, the recipe sets {ours}")
    return notes


def _alternative(style: TrunkStyle, assumed: list[str]) -> str:
    if assumed[0] == "activation" and style.pre_norm and style.activation == "quick_gelu":
        return (
            "so OpenAI's CLIP was trained; what open_clip trained itself (LAION, DataComp) mostly needs "
            "--model.trunk.activation gelu"
        )
    return f"--model.trunk.{assumed[0]} sets another"
