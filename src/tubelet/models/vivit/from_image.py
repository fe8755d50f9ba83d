"""ViViT from an image ViT, from timm's names to its own.

Sources: ViViT (arXiv 2103.15691) section 3.4; google-research/scenic, commit 4a38d475,
``projects/vivit/model_utils.py`` (``initialise_from_train_state`` and what it calls).

Deviation: Model 2's spatial class token takes the image model's by default, so that a fresh model's frame vectors are
the image model's features; the original leaves it at zero (``spatial_class_token="fresh"``).
Deviation: Model 3's temporal attention starts with only its output projection at zero, which computes the same as the
paper's scheme and learns; with the paper's (``temporal_attention="zero"``) every one of its parameters but the output
bias has no gradient at all. The original's default is to copy the spatial attention (``"copied"``).
Deviation: another patch size, another number of channels and grids that are no squares are taken and reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import named_fields
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.model import TwoStageViViT, ViViTFactorizedEncoder, ViViTFactorizedSelfAttention, ViViTJoint
from tubelet.models.vivit.variants import MODELS
from tubelet.nn.position import PositionTable
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.image_model import FUNCTION_FIELDS, ImageModel
from tubelet.weights.mapping.plain_vit import HEAD_DIM, PlainViT, plain_vit
from tubelet.weights.mapping.resample import (
    adapt_channels,
    arp,
    central_frame,
    inflation,
    resample_patch,
    resize_square_positions,
    resize_tile_positions,
    tile_positions,
)
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights

_TOKENIZERS = {"central_frame": central_frame, "inflation": inflation, "arp": arp}
_POSITIONS = {"resize_tile": resize_tile_positions, "tile": tile_positions, "resize": resize_square_positions}
_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten())


def prepare(image: ImageModel) -> PlainViT:
    """The plain ViT that a ViViT takes apart.

    Raises:
        CheckpointError: the image model is no plain ViT, or not fully described.
    """
    return plain_vit(image, "ViViT")


def fields(image: PlainViT, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the config that come along with the weights, where ``given`` does not set them."""
    return {name: value for name, value in image.function_fields.items() if name not in given}


def suggest(image: ImageModel) -> tuple[dict[str, Any], tuple[int, int]]:
    """The factorized encoder of the image ViT's size with tubelets of two frames, and the size of its pictures.

    Raises:
        CheckpointError: as ``prepare``.
    """
    plain = prepare(image)
    sizes = {"num_heads": max(1, plain.sizes["embed_dim"] // HEAD_DIM), **plain.sizes}
    in_order = {name: sizes[name] for name in ("embed_dim", "depth", "num_heads", "mlp_ratio")}
    size = (plain.grid[0] * plain.patch_size[0], plain.grid[1] * plain.patch_size[1])
    return named_fields(MODELS, ViViTFactorizedEncoder, {**in_order, "tubelet_size": [2, *plain.patch_size]}), size


def from_image(image: PlainViT, model: nn.Module, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet ViViT that starts from an image ViT, and the report of the mapping.

    Args:
        image: the image model as ``prepare`` gives it.
        model: any ViViT with fresh weights; what an image model has no counterpart of stays as it is there.
        init: which of the ways to make tubelet kernels, positions and Model 3's temporal attention.

    Raises:
        CheckpointError: the sizes of the two differ, or an option does not fit them.
    """
    config: ViViTConfig = model.config  # type: ignore[assignment]
    _check_sizes(image, config)
    _check_options(model, init)
    rules = [*_tokenizer_rules(image, model, init), *_encoder_rules(image, model, init), *_head_rules()]
    fresh = _fresh(image, model, init)
    state, report = map_weights(image.tensors, model, rules, _dropped(image, model, init), fresh, _notes(image, model))
    if not image.has_class_token and position_table(model).num_prefix:
        report = dataclasses.replace(report, partly_fresh=(f"{prefix_of(model)}pos_embed.table",))
    if isinstance(model, ViViTFactorizedSelfAttention):
        state |= {
            n: torch.zeros_like(state[n]) for n in state if n.split(".", 2)[-1] in _ZEROED[init.temporal_attention]
        }
    return state, report


def prefix_of(model: nn.Module) -> str:
    """What stands before the names of the encoder that an image model fills."""
    if isinstance(model, TwoStageViViT):
        return "spatial_encoder."
    return "encoder." if isinstance(model, ViViTJoint) else ""


def _check_sizes(image: PlainViT, config: ViViTConfig) -> None:
    differ = [name for name, value in image.sizes.items() if value != getattr(config, name)]
    if "mlp_ratio" in differ and round(config.embed_dim * config.mlp_ratio) == len(
        image.tensors["blocks.0.mlp.fc1.weight"]
    ):
        differ.remove("mlp_ratio")  # another number for the same hidden width
    if differ:
        theirs = ", ".join(f"{name} {image.sizes[name]}" for name in differ)
        ours = ", ".join(f"{name} {getattr(config, name)}" for name in differ)
        raise CheckpointError(
            f"the image model {image.name} has {theirs}, the video model {ours}; choose a model of the same size, "
            f"or set {' '.join(f'--model.{name} {image.sizes[name]:g}' for name in differ)}"
        )


def _check_options(model: nn.Module, init: InitConfig) -> None:
    """An option that would do nothing is refused."""
    config: Any = model.config
    if init.temporal_attention != "zero_projection" and not isinstance(model, ViViTFactorizedSelfAttention):
        raise ConfigError("init.temporal_attention is for Model 3 (vivit_*_fsa); leave it out")
    if init.spatial_class_token != "image" and not (isinstance(model, TwoStageViViT) and config.global_pool == "token"):
        raise ConfigError("init.spatial_class_token is for Model 2 and average pool with a class token; leave it out")
    if config.has_image_kernel and init.tokenizer in ("inflation", "arp"):
        raise ConfigError(
            f"init.tokenizer={init.tokenizer} is for tubelets; single frames take the image kernel as it is"
        )


def _tokenizer_rules(image: PlainViT, model: nn.Module, init: InitConfig) -> list[Rule]:
    config: Any = model.config
    num_frames, *patch = config.tubelet_size
    inflate = None if config.has_image_kernel else _TOKENIZERS.get(init.tokenizer)

    def forward(kernel: Tensor) -> Tensor:
        kernel = resample_patch(adapt_channels(kernel, config.in_channels), (patch[0], patch[1]))
        return kernel if inflate is None else inflate(kernel, num_frames)

    how = "image kernel" if inflate is None else f"{init.tokenizer} over {num_frames} frames"
    return [
        Rule("tokenizer.proj.weight", ("patch_embed.proj.weight",), Operation(how, forward)),
        Rule("tokenizer.proj.bias", ("patch_embed.proj.bias",)),
    ]


def _encoder_rules(image: PlainViT, model: nn.Module, init: InitConfig) -> list[Rule]:
    ours = prefix_of(model)
    block, original = f"{ours}blocks.{{i}}", "blocks.{i}"
    parts = {"norm1": "norm1", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj", "norm2": "norm2"}
    if isinstance(model, ViViTFactorizedSelfAttention):
        parts = {"norm_space": "norm1", "attn_space.qkv": "attn.qkv", "attn_space.proj": "attn.proj"}
        parts |= {"norm_mlp": "norm2"}
        if init.temporal_attention == "copied":
            parts |= {"attn_time.qkv": "attn.qkv", "attn_time.proj": "attn.proj"}
    parts |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    rules = [
        Rule(f"{ours}cls_token", ("cls_token",), _TOKEN),
        Rule(f"{ours}pos_embed.table", ("pos_embed",), _positions(image, model, init)),
    ]
    for kind in ("weight", "bias"):
        rules += [Rule(f"{block}.{a}.{kind}", (f"{original}.{b}.{kind}",)) for a, b in parts.items()]
        rules.append(Rule(f"{ours}norm.{kind}", (f"norm.{kind}",)))
    return rules


def _positions(image: PlainViT, model: nn.Module, init: InitConfig) -> Operation:
    """Rows of patches by ``init.positions``; the class token's row is the image's, or the model's own."""
    table = position_table(model)
    has_class = image.has_class_token
    own = table.table.detach()[: table.num_prefix].clone()

    def forward(source: Tensor) -> Tensor:
        table_of_image = source.flatten(0, -2)  # 1 rows D, or rows D
        prefix, rows = table_of_image[: int(has_class)], table_of_image[int(has_class) :]
        rows = _POSITIONS[init.positions](rows, image.grid, table.grid)
        return torch.cat([(prefix if has_class else own)[: table.num_prefix], rows])

    old, new = "x".join(map(str, image.grid)), "x".join(map(str, table.grid))
    same = (1, *image.grid) == table.grid and has_class == bool(table.num_prefix)
    return Operation("1 rows D -> rows D" if same else f"{init.positions} {old} -> {new}", forward)


def position_table(model: nn.Module) -> PositionTable:
    """The table of the encoder that an image model fills."""
    table = model.get_submodule(f"{prefix_of(model)}pos_embed")
    assert isinstance(table, PositionTable)
    return table


def _head_rules() -> list[Rule]:
    names = {"pre_logits.0": "pre_logits.fc", "head": "head"}
    return [Rule(f"{a}.{kind}", (f"{b}.{kind}",)) for a, b in names.items() for kind in ("weight", "bias")]


# Model 3's temporal attention at the start: which of its parameters are zero.
_ZEROED: dict[str, tuple[str, ...]] = {
    "zero_projection": ("attn_time.proj.weight", "attn_time.proj.bias"),
    "zero": ("attn_time.qkv.weight", "attn_time.proj.weight"),
    "copied": (),
    "random": (),
}
_TIME = {
    "zero_projection": "attention over time: random, its output projection zero, so that it starts by adding nothing",
    "zero": "attention over time: all kernels zero (the paper's scheme), so that it starts by adding nothing",
    "random": "attention over time: random",
}


def _fresh(image: PlainViT, model: nn.Module, init: InitConfig) -> dict[str, str]:
    fresh: dict[str, str] = {}
    if not init.keep_head:
        fresh[r"head\..*"] = "classifier: made for the new classes"
    if init.tokenizer == "random":
        fresh[r"tokenizer\..*"] = "tubelets: left random, as asked"
    if not _takes_pre_logits(image, model):
        fresh[r"pre_logits\..*"] = "the image model has no such layer"
    if isinstance(model, ViViTFactorizedEncoder):
        fresh[r"temporal_encoder\..*"] = "encoder over time: an image model has none"
    if isinstance(model, ViViTFactorizedSelfAttention):
        fresh[r"blocks\.\d+\.norm_time\..*"] = "norm before attention over time: an image model has none"
        if init.temporal_attention != "copied":
            fresh[r"blocks\.\d+\.attn_time\..*"] = _TIME[init.temporal_attention]
    if not image.has_class_token:
        fresh[r"(spatial_)?encoder\.cls_token"] = "class token: the image model has none"
    elif init.spatial_class_token == "fresh":
        fresh[r"spatial_encoder\.cls_token"] = "class token of the spatial encoder: left as it is, as asked"
    return fresh


def _takes_pre_logits(image: PlainViT, model: nn.Module) -> bool:
    config: Any = model.config
    return image.representation_size is not None and image.representation_size == config.representation_size


def _dropped(image: PlainViT, model: nn.Module, init: InitConfig) -> dict[str, str]:
    dropped = {"cls_token": "class token: the video model has no place for it or keeps its own"}
    if not init.keep_head:
        dropped[r"head\..*"] = "classifier of the image model"
    if not _takes_pre_logits(image, model):
        dropped[r"pre_logits\..*"] = "layer before the image model's classifier, which the video model has not"
    if init.tokenizer == "random":
        dropped[r"patch_embed\..*"] = "patch kernel: the tubelets were asked to stay random"
    return dropped


def _notes(image: PlainViT, model: nn.Module) -> list[str]:
    """What changed on the way, beside what the rows of the report say."""
    config: Any = model.config
    notes = list(image.notes)
    if image.facts.num_heads is None:
        notes.append(f"num_heads is not in the image model's weights: {config.num_heads} of the video model")
    if image.dropped:
        notes.append(f"left out of the image model: {', '.join(image.dropped)}")
    changes = {
        "channels": (image.in_channels, config.in_channels),
        "patches": (image.patch_size, tuple(config.tubelet_size[1:])),
    }
    for what, (theirs, ours) in changes.items():
        if theirs != ours:
            notes.append(f"{what}: {_text(theirs)} of the image model resampled to {_text(ours)}")
    grid = position_table(model).grid
    if image.grid != grid[1:]:
        notes.append(f"positions: {_text(image.grid)} of the image model resized to {_text(grid[1:])}")
    for name in FUNCTION_FIELDS:
        theirs, ours = image.function_fields[name], getattr(config, name)
        if theirs != ours:
            notes.append(f"{name}: the image model was trained with {theirs}, the recipe sets {ours}")
    if config.global_pool == "token" and not image.has_class_token:
        notes.append("the image model pools tokens and has no class token: the video model's is untrained")
    return notes


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
