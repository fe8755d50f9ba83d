"""Names and layouts of the official ViViT weights (flax trees, names joined by "/") for tubelet's ViViT.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py``. Layouts there: convolution kernels
``[t, h, w, in, out]``, dense kernels ``[in, out]``, attention query/key/value kernels ``[D, heads, head_dim]`` and
out kernels ``[heads, head_dim, D]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import create
from tubelet.models.vivit.model import (
    ViViTAveragePool,
    ViViTFactorizedDotProduct,
    ViViTFactorizedEncoder,
    ViViTFactorizedSelfAttention,
    ViViTJoint,
)
from tubelet.models.vivit.recognize import model_of, protocol_of, published_heads
from tubelet.models.vivit.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, TRANSPOSED, MappingReport, Operation, Rule, map_back, map_weights


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A checkpoint file of scenic's ViViT (flax msgpack, with or without training state) or its parameters as .npz.

    Raises:
        CheckpointError: unreadable, no ViViT, not fitting strictly, or what names and shapes leave open is not given.
    """
    weights = read_weights(path, options.which)
    source = weights.tensors
    try:
        name, fields, notes = model_of(source, options.model)
        model = create(MODELS, name, fields)
        state, report = from_scenic(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if options.labels is None and (heads := published_heads(fields["num_classes"])) is not None:
        options = dataclasses.replace(options, labels=heads)
        notes.append("397 outputs: split into 300 nouns and 97 verbs; one head is --labels FILE with 397 names")
    protocol, protocol_notes = protocol_of(fields)
    facts = {
        "source": "scenic",
        "original": "google-research/scenic, projects/vivit",
        "license": "apache-2.0",
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


def from_scenic(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet ViViT from scenic's parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    return map_weights(source, model, scenic_rules(model))


def to_scenic(model: nn.Module) -> dict[str, Tensor]:
    """Scenic's parameters under scenic's names, from a tubelet ViViT."""
    return map_back(model.state_dict(), scenic_rules(model))


def scenic_rules(model: nn.Module) -> list[Rule]:
    """The rules of a tubelet ViViT; the head counts, which only flax kernels show, are those of its config."""
    config: Any = model.config
    heads = config.num_heads
    common = [
        Rule("tokenizer.proj.weight", ("embedding/kernel",), _CONV_KERNEL),
        Rule("tokenizer.proj.bias", ("embedding/bias",)),
        *_dense("pre_logits.0", "pre_logits"),
        *_dense("head", "output_projection"),
    ]
    spatial = [
        Rule("spatial_encoder.cls_token", ("cls_SpatialTransformer",), _TOKEN),
        *_blocks("spatial_encoder.", "SpatialTransformer", heads),
    ]
    match model:
        case ViViTJoint():
            return [*common, Rule("encoder.cls_token", ("cls",), _TOKEN), *_blocks("encoder.", "Transformer", heads)]
        case ViViTFactorizedEncoder():
            temporal_heads = config.temporal_num_heads or heads
            token = Rule("temporal_encoder.cls_token", ("cls_TemporalTransformer",), _TOKEN)
            return [*common, *spatial, token, *_blocks("temporal_encoder.", "TemporalTransformer", temporal_heads)]
        case ViViTAveragePool():
            return [*common, *spatial]
        case ViViTFactorizedSelfAttention():
            return [*common, *_factorized_self_attention_blocks(heads)]
        case ViViTFactorizedDotProduct():
            return [*common, *_blocks("", "Transformer", heads)]
        case _:
            raise TypeError(f"scenic has no {type(model).__name__}")


_CONV_KERNEL = Operation(
    "convolution kernel: (t) h w in out -> out in (t) h w",
    lambda x: x.movedim((-1, -2), (0, 1)),
    lambda x: (x.movedim((0, 1), (-1, -2)),),
)
_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
_TABLE = Operation("1 rows D -> rows D", lambda x: x.squeeze(0), lambda x: (x[None],))


def _qkv_kernel(heads: int) -> Operation:
    return Operation(
        "3 x (D heads hd -> D D), stacked",
        lambda *qkv: torch.cat([x.flatten(1).T for x in qkv]),
        lambda x: [part.T.unflatten(1, (heads, -1)) for part in x.chunk(3)],
    )


def _qkv_bias(heads: int) -> Operation:
    return Operation(
        "3 x (heads hd -> D), stacked",
        lambda *qkv: torch.cat([x.flatten() for x in qkv]),
        lambda x: [part.unflatten(0, (heads, -1)) for part in x.chunk(3)],
    )


def _out_kernel(heads: int) -> Operation:
    return Operation("heads hd D -> D D", lambda x: x.flatten(0, 1).T, lambda x: (x.T.unflatten(0, (heads, -1)),))


def _norm(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.weight", (f"{source}/scale",), SAME), Rule(f"{target}.bias", (f"{source}/bias",), SAME)]


def _dense(target: str, source: str) -> list[Rule]:
    return [
        Rule(f"{target}.weight", (f"{source}/kernel",), TRANSPOSED),
        Rule(f"{target}.bias", (f"{source}/bias",), SAME),
    ]


def _attention(target: str, source: str, heads: int) -> list[Rule]:
    kernels = tuple(f"{source}/{name}/kernel" for name in ("query", "key", "value"))
    biases = tuple(f"{source}/{name}/bias" for name in ("query", "key", "value"))
    return [
        Rule(f"{target}.qkv.weight", kernels, _qkv_kernel(heads)),
        Rule(f"{target}.qkv.bias", biases, _qkv_bias(heads)),
        Rule(f"{target}.proj.weight", (f"{source}/out/kernel",), _out_kernel(heads)),
        Rule(f"{target}.proj.bias", (f"{source}/out/bias",), SAME),
    ]


def _blocks(target: str, source: str, heads: int) -> list[Rule]:
    """Position table, standard blocks and final norm; ``target`` is "" or a module name with its dot."""
    block, original = f"{target}blocks.{{i}}", f"{source}/encoderblock_{{i}}"
    return [
        Rule(f"{target}pos_embed.table", (f"{source}/posembed_input/pos_embedding",), _TABLE),
        *_norm(f"{block}.norm1", f"{original}/LayerNorm_0"),
        *_attention(f"{block}.attn", f"{original}/MultiHeadDotProductAttention_0", heads),
        *_norm(f"{block}.norm2", f"{original}/LayerNorm_1"),
        *_dense(f"{block}.mlp.fc1", f"{original}/MlpBlock_0/Dense_0"),
        *_dense(f"{block}.mlp.fc2", f"{original}/MlpBlock_0/Dense_1"),
        *_norm(f"{target}norm", f"{source}/encoder_norm"),
    ]


def _factorized_self_attention_blocks(heads: int) -> list[Rule]:
    block, original = "blocks.{i}", "Transformer/encoderblock_{i}"
    rules = [Rule("pos_embed.table", ("Transformer/posembed_input/pos_embedding",), _TABLE)]
    for axis in ("space", "time"):
        rules += _norm(f"{block}.norm_{axis}", f"{original}/LayerNorm_{axis}")
        rules += _attention(f"{block}.attn_{axis}", f"{original}/MultiHeadDotProductAttention_{axis}", heads)
    rules += _norm(f"{block}.norm_mlp", f"{original}/LayerNorm_mlp")
    rules += _dense(f"{block}.mlp.fc1", f"{original}/MlpBlock/Dense_0")
    rules += _dense(f"{block}.mlp.fc2", f"{original}/MlpBlock/Dense_1")
    return rules + _norm("norm", "Transformer/encoder_norm")
