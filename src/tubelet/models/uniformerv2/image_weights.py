"""UniFormerV2's trunk from an image ViT: CLIP's towers (OpenAI, open_clip, timm), and timm's ViTs of any pretraining.

Source: for CLIP OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py`` (``inflate_weight``);
for the others timm's ``vision_transformer.py``, ``deit.py`` and ``beit.py``. The patch kernel goes to the middle of the
stem's kernel over time, zeros to the rest, so that a fresh model sees single frames. Final norms, projections and
classifiers of the image model are dropped; what it has no counterpart of stays as the fresh model has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from tubelet.errors import CheckpointError, nearest
from tubelet.models.uniformerv2.image_trunk import ImagePositions
from tubelet.models.uniformerv2.local_block import RelativeAttention
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.weights import both, clip_rules
from tubelet.weights.init.image_network import grid_of_table
from tubelet.weights.mapping.resample import adapt_channels
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights

_FRESH = {
    r"trunk\.blocks\.\d+\.local\d\..*": "temporal branch: an image model has none, it starts by adding nothing",
    r"(fusion|pool|norm|head)\..*": "video part: an image model has none",
}
_DROPPED_OF_CLIP = {
    r"proj|ln_post\..*": "behind the blocks: the video model has a head of its own",
    r"attn_pool\..*": "behind the blocks: the video model has a head of its own",
}
_DROPPED_OF_TIMM = {
    r"(norm|fc_norm)\..*": "final norm: the video model has its own before its head",
    r"head\..*|head_dist\..*": "classifier of the image model",
    r".*relative_position_index|.*attn\.k_bias": "buffer without learned values",
}


def trunk_fields(name: str, **options: Any) -> dict[str, Any]:
    """Fields of a UniFormerV2 config for a timm model: its size, and what its pretraining changed.

    ``trunk_fields("beit_base_patch16_224")["trunk"]["position"]`` is ``"relative"``.

    Args:
        options: arguments that timm makes the model with, other than its own.

    Raises:
        CheckpointError: timm has no such model, or it is no plain ViT with a class token.
    """
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise CheckpointError(f"timm has no model '{name}'{hint}")
    with torch.device("meta"):
        model: Any = timm.create_model(name, **options)
    names = set(model.state_dict())
    if "patch_embed.proj.weight" not in names or not {"cls_token", "blocks.0.attn.qkv.weight"} <= names:
        raise CheckpointError(f"timm's {name} is no ViT with a class token, which the trunk must be")
    block, kernel = model.blocks[0], model.patch_embed.proj.weight
    relative = "blocks.0.attn.relative_position_bias_table" in names
    rows = 0 if relative else model.pos_embed.shape[1] - model.patch_embed.num_patches
    scales = [v for k, v in model.state_dict().items() if k in ("blocks.0.ls1.gamma", "blocks.0.gamma_1")]
    return {
        "patch_size": kernel.shape[-1],
        "image_size": tuple(model.patch_embed.img_size),
        "embed_dim": kernel.shape[0],
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "trunk": {
            "pre_norm": "norm_pre.weight" in names,
            "patch_bias": "patch_embed.proj.bias" in names,
            "activation": _activation(block.mlp.act, name),
            "norm_eps": block.norm1.eps,
            "layer_scale": 1e-5 if scales else None,  # the weights bring their own values
            "position": "relative" if relative else ("class_and_patches" if rows else "patches"),
        },
    }


def _activation(act: nn.Module, name: str) -> str:
    kind = type(act).__name__
    if kind == "GELU":
        return "gelu_tanh" if getattr(act, "approximate", "none") == "tanh" else "gelu"
    if kind in ("QuickGELU", "GELUTanh"):
        return "quick_gelu" if kind == "QuickGELU" else "gelu_tanh"
    raise CheckpointError(f"timm's {name} has the activation {kind}; expected GELU or QuickGELU")


def from_image_model(
    source: Mapping[str, Tensor],
    model: UniFormerV2 | UniFormerV2Local,
    image_grid: tuple[int, int] | None = None,
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet UniFormerV2 whose trunk is an image model, and the report of the mapping.

    Args:
        source: names of timm; of CLIP's image tower; or of a whole CLIP, whose text tower is left out.
        model: made for this kind of image model (see ``trunk_fields``). Another size is interpolated, the kernel
            for another number of channels resampled.
        image_grid: patches (h, w) of the image model's position table; none: the model's own, or a square.

    Raises:
        CheckpointError: not an image ViT, or one of another size or kind than the model's trunk.
    """
    if "patch_embed.proj.weight" in source:
        rules = timm_rules("blocks.0.attn.q_bias" in source)
        return _mapped(source, model, rules, _DROPPED_OF_TIMM, "pos_embed", image_grid)
    tower = image_tower(source)
    tower, mixed = _one_format(tower)
    if "class_embedding" not in tower or "conv1.weight" not in tower:
        raise CheckpointError(
            "no image ViT: expected names of timm (patch_embed.proj.weight) or of CLIP (visual.conv1.weight), "
            f"found {', '.join(list(source)[:3])}"
        )
    state, report = _mapped(tower, model, clip_rules(), _DROPPED_OF_CLIP, "positional_embedding", image_grid)
    return state, replace(report, notes=(*mixed, *report.notes))


def _one_format(tower: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """OpenAI's CLIP keeps linear layers and convolutions in half, norms and embeddings in full precision."""
    formats = sorted({str(t.dtype) for t in tower.values() if t.is_floating_point()})
    if len(formats) < 2:
        return dict(tower), []
    whole = {name: t.float() if t.is_floating_point() else t for name, t in tower.items()}
    return whole, [f"{' and '.join(formats)} side by side, as OpenAI's CLIP is kept: all converted to torch.float32"]


def image_tower(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without CLIP's text tower, whose names are those of the image tower once the prefix is cut."""
    return {k.removeprefix("visual."): v for k, v in source.items() if k.startswith("visual.")} or dict(source)


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


def _mapped(
    source: Mapping[str, Tensor],
    model: UniFormerV2 | UniFormerV2Local,
    rules: list[Rule],
    dropped: Mapping[str, str],
    positions: str,
    image_grid: tuple[int, int] | None,
) -> tuple[dict[str, Tensor], MappingReport]:
    """``map_weights`` with the stem inflated and tables resized to the model's grid."""
    trunk, notes = model.trunk, []
    stem = trunk.stem.proj
    changed = {"trunk.stem.proj.weight": _inflated(stem.kernel_size[0], stem.in_channels)}
    kernel = source.get("conv1.weight", source.get("patch_embed.proj.weight", stem.weight))
    if kernel.shape[1] != stem.in_channels:
        notes.append(f"channels: {kernel.shape[1]} of the image model resampled to {stem.in_channels}")
    table = trunk.pos_embed
    if isinstance(table, ImagePositions) and positions in source:
        old = grid_of_table(source[positions].shape[-2], int(table.with_class), table.grid, image_grid)
        changed["trunk.pos_embed.table"] = _positions(old, table.grid, table.with_class)
        if old != table.grid:
            notes.append(f"positions: grid {old[0]}x{old[1]} resized to {table.grid[0]}x{table.grid[1]} (bicubic)")
    attn = trunk.blocks[0].attn
    if isinstance(attn, RelativeAttention):
        bias = source.get("blocks.0.attn.relative_position_bias_table", attn.bias_table)
        if len(bias) != len(attn.bias_table):
            side = round((len(bias) - 3) ** 0.5)
            changed["trunk.blocks.{i}.attn.bias_table"] = _offsets((side, side), attn.grid)
            notes.append(f"relative positions: {side}x{side} offsets resized to the grid {attn.grid} (bicubic)")
    rules = [Rule(r.target, r.sources, changed.get(r.target, r.operation)) for r in rules]
    return map_weights(source, model, rules, dropped, _FRESH, notes)


def _inflated(frames: int, channels: int) -> Operation:
    """A 2-D kernel in the middle of one over ``frames`` frames."""

    def forward(x: Tensor) -> Tensor:
        before = frames // 2
        return F.pad(adapt_channels(x, channels).unsqueeze(2), (0, 0, 0, 0, before, frames - 1 - before))

    return Operation(f"D C p p -> D C {frames} p p, in the middle", forward)


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
