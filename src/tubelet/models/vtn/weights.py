"""Names of the official VTN weights for tubelet's VTN.

Source: bomri/SlowFast, commit 00a68201, ``slowfast/models/video_model_builder.py`` (class ``VTN``); the encoder's names
are those of HuggingFace's Longformer. Query, key and value are three linear layers there and one stacked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import create
from tubelet.models.vtn.variants import MODELS
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights, stacked

# Checkpoints written with the libraries of 2021 hold this buffer of row numbers.
DROPPED = {r"temporal_encoder\.embeddings\.position_ids": "a buffer of row numbers"}

# The released evaluation: 250 frames at 25 per second, one centered view; PySlowFast's pixel range.
# Deviation: the original spreads 250 frames over the first ten seconds, so that a shorter video repeats frames.
PROTOCOL = Protocol(
    num_frames=250,
    frame_stride=None,
    target_fps=25.0,
    short_video="hold",
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    num_temporal_views=1,
    num_spatial_crops=1,
)
# Which named model has a backbone of that width, and for ResNets of so many blocks in the third stage.
_VIT_BY_WIDTH = {768: "vtn_vit_b16", 192: "vtn_deit_ti16"}
_RESNET_BY_BLOCKS = {6: "vtn_r50", 23: "vtn_r101"}
_ENCODER = "temporal_encoder.encoder.layer"

_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A training checkpoint of PySlowFast (``.pyth``) that holds a VTN.

    Heads and window leave no trace in the names and shapes: they are those of the released model unless given.

    Raises:
        CheckpointError: unreadable, no VTN, or not fitting strictly.
    """
    weights = read_weights(path, options.which)
    source = weights.tensors
    try:
        name, fields = model_of(source, options.model)
        model = create(MODELS, name, fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config: Any = model.config
    facts = {
        "source": "vtn",
        "original": "bomri/SlowFast at 00a68201",
        "license": "apache-2.0",
    }
    lines = {
        "model_notes": [f"{config.num_heads} heads and windows of {config.attention_window}: no file says them"],
    }
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, PROTOCOL, facts, lines)


def model_of(source: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The named model and the fields that names and shapes tell, ``given`` ones first.

    Raises:
        CheckpointError: no VTN, or a backbone that has no name here and none was given.
    """
    try:
        width = source["cls_token"].shape[-1]
        shapes = {
            "num_classes": len(source["mlp_head.4.weight"]),
            "head_dim": len(source["mlp_head.1.weight"]),
            "hidden_dim": len(source[f"{_ENCODER}.0.intermediate.dense.weight"]),
            "num_positions": len(source["temporal_encoder.embeddings.position_embeddings.weight"]),
            "depth": len({m[1] for key in source if (m := re.match(rf"{re.escape(_ENCODER)}\.(\d+)\.", key))}),
        }
    except KeyError as missing:
        raise CheckpointError(f"holds no official VTN: there is no {missing}") from None
    blocks = len({m[1] for key in source if (m := re.match(r"backbone\.layer3\.(\d+)\.", key))})
    guessed = _RESNET_BY_BLOCKS.get(blocks) if blocks else _VIT_BY_WIDTH.get(width)
    name = given.get("name", guessed)
    if name is None:
        raise CheckpointError(f"its backbone of width {width} is none that is known; name the model with --model.name")
    return name, {**shapes, **{key: value for key, value in given.items() if key != "name"}}


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VTN from the official parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    return map_weights(source, model, vtn_rules(model), DROPPED)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters under the official names, from a tubelet VTN.

    Raises:
        CheckpointError: a part that the official model does not have, such as a projection behind the backbone.
    """
    return map_back(model.state_dict(), vtn_rules(model))


def vtn_rules(model: nn.Module) -> list[Rule]:
    backbone = [f"backbone.{name}" for name in model.get_submodule("backbone").state_dict()]
    encoder, layer = "temporal_encoder", "temporal_encoder.layers.{i}"
    original = "temporal_encoder.encoder.layer.{i}"
    attention = f"{original}.attention.self"
    rules = [Rule(name, (name,)) for name in backbone]  # timm's names on both sides
    rules += [
        Rule(f"{encoder}.cls_token", ("cls_token",), _TOKEN),
        Rule(f"{encoder}.pos_embed.table", (f"{encoder}.embeddings.position_embeddings.weight",)),
        Rule(f"{encoder}.type_embed", (f"{encoder}.embeddings.token_type_embeddings.weight",)),
    ]
    for kind in ("weight", "bias"):
        qkv = tuple(f"{attention}.{name}.{kind}" for name in ("query", "key", "value"))
        names = {
            f"{encoder}.norm": f"{encoder}.embeddings.LayerNorm",
            **{
                f"{layer}.attn.{name}": f"{attention}.{name}" for name in ("query_global", "key_global", "value_global")
            },
            f"{layer}.attn.proj": f"{original}.attention.output.dense",
            f"{layer}.norm1": f"{original}.attention.output.LayerNorm",
            f"{layer}.fc1": f"{original}.intermediate.dense",
            f"{layer}.fc2": f"{original}.output.dense",
            f"{layer}.norm2": f"{original}.output.LayerNorm",
            "head.{i}": "mlp_head.{i}",
        }
        rules.append(Rule(f"{layer}.attn.qkv.{kind}", qkv, stacked(3)))
        rules += [Rule(f"{ours}.{kind}", (f"{theirs}.{kind}",), SAME) for ours, theirs in names.items()]
    return rules
