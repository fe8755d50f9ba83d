"""UniFormerV2's trunk as a recipe's ``init`` asks for it: which trunk the weights need, and whether they fit.

The style of a trunk (``TrunkStyle``) decides which function its weights compute, so it comes along with them: from
timm's construction of the network, or, where there are weights alone, from their names and shapes. Those do not say
the activation and the epsilon of the norms, which are taken for granted and noted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tubelet import config as config_io
from tubelet.errors import CheckpointError
from tubelet.models.uniformerv2.image_trunk import TrunkStyle
from tubelet.models.uniformerv2.image_weights import from_image_model, image_tower, trunk_fields
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.vivit.init import InitConfig
from tubelet.weights.init.image_network import ImageNetwork, refuse_options
from tubelet.weights.mapping.rules import MappingReport

_SIZES = ("embed_dim", "depth", "num_heads", "patch_size")
# What a file cannot say: CLIP as OpenAI trained it, and every other image ViT.
_OF_CLIP = {"activation": "quick_gelu", "norm_eps": 1e-5}
_OF_OTHERS = {"activation": "gelu", "norm_eps": 1e-6}


def fields_of_trunk(source: ImageNetwork) -> dict[str, Any]:
    """Fields of a UniFormerV2 config that its trunk has: sizes as far as they are known, and ``trunk``.

    Raises:
        CheckpointError: the network is no plain ViT with a class token.
    """
    if source.architecture is not None:
        source.made()  # says in one line what timm cannot make
        return trunk_fields(source.architecture, **source.options)
    return _fields_of_tensors(image_tower(source.tensors), source)


def _fields_of_tensors(tower: Mapping[str, Tensor], source: ImageNetwork) -> dict[str, Any]:
    of_clip = "class_embedding" in tower
    kernel = tower.get("conv1.weight" if of_clip else "patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4 or not (of_clip or "cls_token" in tower):
        raise CheckpointError(
            f"{source.name}: no ViT with a class token, which the trunk must be: expected names of timm "
            f"(patch_embed.proj.weight, cls_token) or of CLIP (visual.conv1.weight), found {', '.join(tower)[:80]}"
        )
    blocks = {name.split(".")[2 if of_clip else 1] for name in tower if "blocks." in name}
    pre_norm = of_clip or "norm_pre.weight" in tower
    known = {name: source.known[name] for name in ("activation", "norm_eps") if name in source.known}
    scale = {"blocks.0.ls1.gamma", "blocks.0.gamma_1"} & tower.keys()
    fields = {
        "patch_size": kernel.shape[-1],
        "embed_dim": len(kernel),
        "depth": len(blocks),
        "trunk": {
            **(_OF_CLIP if pre_norm else _OF_OTHERS),
            **known,
            "pre_norm": pre_norm,
            "patch_bias": not of_clip and "patch_embed.proj.bias" in tower,
            "layer_scale": 1e-5 if scale else None,  # the weights bring their own values
            "position": "class_and_patches" if of_clip else _position(tower, source.image_grid),
        },
    }
    return fields | {name: source.known[name] for name in ("num_heads",) if name in source.known}


def _position(tower: Mapping[str, Tensor], grid: tuple[int, int] | None) -> str:
    if "pos_embed" not in tower:
        return "relative"
    rows = tower["pos_embed"].shape[-2]
    patches = grid[0] * grid[1] if grid else math.isqrt(rows) ** 2
    return "patches" if rows == patches else "class_and_patches"


def holds_trunk(source: ImageNetwork) -> bool:
    """Whether a UniFormerV2 can start from the network."""
    try:
        fields_of_trunk(source)
    except CheckpointError:
        return False
    return True


def style_fields(source: ImageNetwork, given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``trunk`` that comes along with the weights, where ``given`` does not set its fields."""
    style, asked = fields_of_trunk(source)["trunk"], given.get("trunk", {})
    return {"trunk": {name: value for name, value in style.items() if name not in asked}}


def from_network(
    source: ImageNetwork, model: UniFormerV2 | UniFormerV2Local, init: InitConfig
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet UniFormerV2 whose trunk is an image network, and the report of the mapping.

    Raises:
        CheckpointError: another kind of network, or one of another size.
        ConfigError: an option that means nothing for UniFormerV2.
    """
    refuse_options(init, "UniFormerV2")
    fields = fields_of_trunk(source)
    config = model.config
    differ = [name for name in _SIZES if name in fields and fields[name] != getattr(config, name)]
    if differ:
        theirs, ours = (", ".join(f"{n} {v[n]}" for n in differ) for v in (fields, vars(config)))
        hint = " ".join(f"--model.{name} {fields[name]}" for name in differ)
        raise CheckpointError(
            f"the image model {source.name} has {theirs}, the video model {ours}; choose a model of the same size, or "
            f"set {hint}"
        )
    try:
        state, report = from_image_model(source.tensors, model, source.image_grid)
    except CheckpointError as error:
        raise CheckpointError(f"{source.name}: {error}") from None
    notes = (*source.notes, *_notes(source, fields, model), *report.notes)
    return state, dataclasses.replace(report, notes=notes)


def _alternative(style: TrunkStyle, assumed: list[str]) -> str:
    if assumed[0] == "activation" and style.pre_norm and style.activation == "quick_gelu":
        return (
            "so OpenAI's CLIP was trained; what open_clip trained itself (LAION, DataComp) mostly needs "
            "--model.trunk.activation gelu"
        )
    return f"--model.trunk.{assumed[0]} sets another"


def _notes(source: ImageNetwork, fields: Mapping[str, Any], model: UniFormerV2 | UniFormerV2Local) -> list[str]:
    style: TrunkStyle = model.config.trunk
    notes = []
    assumed = [n for n in _OF_CLIP if n not in source.known] if source.architecture is None else []
    if assumed:
        told = ", ".join(f"{name}={getattr(style, name)}" for name in assumed)
        notes.append(f"{told} taken for granted, not in the weights: {_alternative(style, assumed)}")
    if "num_heads" not in fields:
        notes.append(f"num_heads is not in the image model's weights: {model.config.num_heads} of the video model")
    for name, value in fields["trunk"].items():
        ours = config_io.to_dict(style)[name]
        if name not in (*assumed, "layer_scale") and value != ours:
            notes.append(f"{name}: the image model was trained with {value}, the recipe sets {ours}")
    return notes
