"""ViViT from an image ViT: which tensor of the video model starts as what.

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

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.model import TwoStageViViT, ViViTFactorizedEncoder, ViViTFactorizedSelfAttention, ViViTJoint
from tubelet.nn.position import PositionTable
from tubelet.weights.init.image_vit import ImageViT
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
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_weights


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where the first weights come from, and how those of an image model become those of a video model."""

    source: str  # timm model, file or folder of weights, checkpoint folder, or owner/name on huggingface.co
    tokenizer: Literal["central_frame", "inflation", "arp", "random"] = "central_frame"  # image kernel -> tubelets
    positions: Literal["resize_tile", "tile", "resize"] = "resize_tile"  # image table -> every time index
    temporal_attention: Literal["zero_projection", "zero", "copied", "random"] = "zero_projection"  # of Model 3
    spatial_class_token: Literal["image", "fresh"] = "image"  # of Model 2 and average pool
    image_grid: tuple[int, int] | None = None  # patches (h, w) of the image model, where the file does not say it
    keep_head: bool = False  # the classifier comes too, a checkpoint's by class name: all of the data's must be there

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("init.source is empty; give a timm model, a file, a folder or owner/name")


_TOKENIZERS = {"central_frame": central_frame, "inflation": inflation, "arp": arp}
_POSITIONS = {"resize_tile": resize_tile_positions, "tile": tile_positions, "resize": resize_square_positions}
# Fields of a video model's config that decide which function its weights compute, and so come from the image model.
COME_ALONG = ("activation", "norm_eps", "qkv_bias")
_SIZES = ("embed_dim", "depth", "num_heads", "mlp_ratio")


def from_image(image: ImageViT, model: nn.Module, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet ViViT that starts from an image ViT, and the report of the mapping.

    Args:
        image: the image model under tubelet's names.
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


def _check_sizes(image: ImageViT, config: ViViTConfig) -> None:
    sizes = [f for f in _SIZES if not (f == "num_heads" and image.heads_unknown)]
    differ = [f for f in sizes if getattr(image.config, f) != getattr(config, f)]
    if differ:
        theirs, ours = (", ".join(f"{f} {getattr(c, f)}" for f in differ) for c in (image.config, config))
        raise CheckpointError(
            f"the image model {image.name} has {theirs}, the video model {ours}; choose a model of the same size, "
            f"or set {' '.join(f'--model.{f} {getattr(image.config, f):g}' for f in differ)}"
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


def _tokenizer_rules(image: ImageViT, model: nn.Module, init: InitConfig) -> list[Rule]:
    config: Any = model.config
    num_frames, *patch = config.tubelet_size
    inflate = None if config.has_image_kernel else _TOKENIZERS.get(init.tokenizer)

    def forward(kernel: Tensor) -> Tensor:
        kernel = resample_patch(adapt_channels(kernel, config.in_channels), (patch[0], patch[1]))
        return kernel if inflate is None else inflate(kernel, num_frames)

    how = "image kernel" if inflate is None else f"{init.tokenizer} over {num_frames} frames"
    return [
        Rule("tokenizer.proj.weight", ("tokenizer.proj.weight",), Operation(how, forward)),
        Rule("tokenizer.proj.bias", ("tokenizer.proj.bias",)),
    ]


def _encoder_rules(image: ImageViT, model: nn.Module, init: InitConfig) -> list[Rule]:
    ours, theirs = prefix_of(model), "encoder."
    block, original = f"{ours}blocks.{{i}}", f"{theirs}blocks.{{i}}"
    parts = {"norm1": "norm1", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj", "norm2": "norm2"}
    if isinstance(model, ViViTFactorizedSelfAttention):
        parts = {"norm_space": "norm1", "attn_space.qkv": "attn.qkv", "attn_space.proj": "attn.proj"}
        parts |= {"norm_mlp": "norm2"}
        if init.temporal_attention == "copied":
            parts |= {"attn_time.qkv": "attn.qkv", "attn_time.proj": "attn.proj"}
    parts |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    rules = [
        Rule(f"{ours}cls_token", (f"{theirs}cls_token",)),
        Rule(f"{ours}pos_embed.table", (f"{theirs}pos_embed.table",), _positions(image, model, init)),
    ]
    for kind in ("weight", "bias"):
        rules += [Rule(f"{block}.{a}.{kind}", (f"{original}.{b}.{kind}",)) for a, b in parts.items()]
        rules.append(Rule(f"{ours}norm.{kind}", (f"{theirs}norm.{kind}",)))
    return rules


def _positions(image: ImageViT, model: nn.Module, init: InitConfig) -> Operation:
    """Rows of patches by ``init.positions``; the class token's row is the image's, or the model's own."""
    table = position_table(model)
    has_class = image.has_class_token
    own = table.table.detach()[: table.num_prefix].clone()

    def forward(source: Tensor) -> Tensor:
        prefix, rows = source[: int(has_class)], source[int(has_class) :]
        rows = _POSITIONS[init.positions](rows, image.grid, table.grid)
        return torch.cat([(prefix if has_class else own)[: table.num_prefix], rows])

    old, new = "x".join(map(str, image.grid)), "x".join(map(str, table.grid))
    return (
        SAME
        if (1, *image.grid) == table.grid and has_class == bool(table.num_prefix)
        else Operation(f"{init.positions} {old} -> {new}", forward)
    )


def position_table(model: nn.Module) -> PositionTable:
    """The table of the encoder that an image model fills."""
    table = model.get_submodule(f"{prefix_of(model)}pos_embed")
    assert isinstance(table, PositionTable)
    return table


def _head_rules() -> list[Rule]:
    return [
        Rule(f"{name}.{kind}", (f"{name}.{kind}",)) for name in ("pre_logits.0", "head") for kind in ("weight", "bias")
    ]


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


def _fresh(image: ImageViT, model: nn.Module, init: InitConfig) -> dict[str, str]:
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


def _takes_pre_logits(image: ImageViT, model: nn.Module) -> bool:
    config: Any = model.config
    return image.config.representation_size is not None and (
        image.config.representation_size == config.representation_size
    )


def _dropped(image: ImageViT, model: nn.Module, init: InitConfig) -> dict[str, str]:
    dropped = {r"encoder\.cls_token": "class token: the video model has no place for it or keeps its own"}
    if not init.keep_head:
        dropped[r"head\..*"] = "classifier of the image model"
    if not _takes_pre_logits(image, model):
        dropped[r"pre_logits\..*"] = "layer before the image model's classifier, which the video model has not"
    if init.tokenizer == "random":
        dropped[r"tokenizer\..*"] = "patch kernel: the tubelets were asked to stay random"
    return dropped


def _notes(image: ImageViT, model: nn.Module) -> list[str]:
    """What changed on the way, beside what the rows of the report say."""
    config: Any = model.config
    notes = list(image.notes)
    if image.heads_unknown:
        notes.append(f"num_heads is not in the image model's weights: {config.num_heads} of the video model")
    if image.dropped:
        notes.append(f"left out of the image model: {', '.join(image.dropped)}")
    for field, unit in (("in_channels", "channels"), ("tubelet_size", "patches")):
        theirs, ours = getattr(image.config, field), getattr(config, field)
        if field == "tubelet_size":
            theirs, ours = theirs[1:], ours[1:]
        if theirs != ours:
            notes.append(f"{unit}: {_text(theirs)} of the image model resampled to {_text(ours)}")
    grid = position_table(model).grid
    if image.grid != grid[1:]:
        notes.append(f"positions: {_text(image.grid)} of the image model resized to {_text(grid[1:])}")
    for field in COME_ALONG:
        theirs, ours = getattr(image.config, field), getattr(config, field)
        if theirs != ours:
            notes.append(f"{field}: the image model was trained with {theirs}, the recipe sets {ours}")
    if config.global_pool == "token" and not image.has_class_token:
        notes.append("the image model pools tokens and has no class token: the video model's is untrained")
    return notes


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
