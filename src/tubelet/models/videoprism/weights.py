"""Names and layouts of VideoPrism's official weights (a flax tree, names joined by "/") for tubelet's VideoPrism.

Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/encoders.py`` and ``layers.py``. Layouts there: dense
kernels ``[in, out]``, attention projections ``[D, heads, hd]``, that of the result included, which has its output
first. Released files hold the layers of a stack in one tensor, the layer first (``x_layers``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import config_of, create
from tubelet.models.videoprism.model import VideoPrismTower
from tubelet.models.videoprism.recognize import fresh_classifier, model_of, protocol_of
from tubelet.models.videoprism.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, TRANSPOSED, MappingReport, Operation, Rule, map_back, map_weights

_PARAMS = "params/"
_SCANNED = re.compile(r"(.+/x_layers)/(.+)")
_LAYER = re.compile(r"(.+/x_layers)/(\d+)/(.+)")
_DROPPED = {r"text_encoder/.*": "the text tower, which a video classifier does not have"}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released file (``.npz``) or a flax file: an encoder, a classifier, or the video side of the video-text model.

    Encoders and the video-text model have no classifier. It is made fresh for the classes that ``options`` name, and so
    is the pooling of an encoder: such a checkpoint is to be trained.

    Raises:
        CheckpointError: unreadable, no VideoPrism, not fitting strictly, or without a classifier and no classes given.
    """
    weights = read_weights(path, options.which)
    try:
        source = weights.tensors
        name, fields, notes = model_of(source, options)
        model = create(MODELS, name, fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    protocol, protocol_notes = protocol_of(config)
    facts = {
        "source": "videoprism",
        "original": "google-deepmind/videoprism",
        "license": "apache-2.0",
    }
    lines = {
        "model_notes": [*notes, "license: that of the code; the repository names no other one for the weights"],
        "protocol_notes": protocol_notes,
    }
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VideoPrism from the official parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    tensors = _by_layer({name.removeprefix(_PARAMS): tensor for name, tensor in source.items()})
    has_pool = any("pooling_attention" in name for name in tensors)
    fresh = fresh_classifier(has_pool, "projection/linear/kernel" in tensors)
    return map_weights(tensors, model, official_rules(model, has_pool), _DROPPED, fresh)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters under the official names, from a tubelet VideoPrism.

    Raises:
        CheckpointError: a video tower, whose original has no classifier.
    """
    if isinstance(model, VideoPrismTower):
        raise CheckpointError("VideoPrism's video-text model has no place for a classifier of videos")
    return stacked_layers(map_back(model.state_dict(), official_rules(model)))


def stacked_layers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layers in one tensor and ``params/`` in front, as the official files have them."""
    whole: dict[str, Tensor] = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := _LAYER.fullmatch(name):
            stacks.setdefault(f"{match[1]}/{match[3]}", {})[int(match[2])] = tensor
        else:
            whole[name] = tensor
    whole |= {name: torch.stack([layers[i] for i in range(len(layers))]) for name, layers in stacks.items()}
    return {f"{_PARAMS}{name}": tensor for name, tensor in whole.items()}


def official_rules(model: nn.Module, has_pool: bool = True) -> list[Rule]:
    """The rules of a tubelet VideoPrism; the head counts, which only flax kernels show, are those of its config.

    Args:
        has_pool: False for the encoder alone, whose names have nothing in front.
    """
    config: Any = model.config
    heads, p, channels = config.num_heads, config.patch_size, config.in_channels
    is_tower = isinstance(model, VideoPrismTower)
    encoder = "" if not has_pool else "vision_encoder/" if is_tower else "encoder/"
    pool = "contrastive_vision_pooler" if is_tower else "atten_pooler"
    patches = Operation(
        f"kernel: ({p} {p} channels) out -> out channels 1 {p} {p}",
        lambda x: x.unflatten(0, (p, p, channels)).permute(3, 2, 0, 1).unsqueeze(2),
        lambda x: (x.squeeze(2).permute(2, 3, 1, 0).flatten(0, 2),),
    )
    attention = f"{pool}/pooling_attention"
    return [
        Rule("tokenizer.proj.weight", (f"{encoder}patch_projection/linear/kernel",), patches),
        Rule("tokenizer.proj.bias", (f"{encoder}patch_projection/linear/bias",)),
        *_stage("spatial", encoder, heads),
        *_stage("temporal", encoder, heads),
        *_block_rules("auxiliary_blocks", "auxiliary_encoder", heads),
        Rule("pool.query", (f"{pool}/pooling_attention_query",), _QUERY),
        Rule("pool.per_dim_scale", (f"{attention}/per_dim_scale/per_dim_scale",)),
        *_projections("pool.q", attention, ("query",), heads),
        *_projections("pool.kv", attention, ("key", "value"), heads),
        *_result("pool.proj", attention, heads),
        *_norm("pool.norm", f"{pool}/pooling_attention_layer_norm"),
        *_dense("head", "projection/linear"),
    ]


_QUERY = Operation("1 D -> D", lambda x: x.flatten(), lambda x: (x[None],))


def _stage(kind: str, encoder: str, heads: int) -> list[Rule]:
    return [
        Rule(f"{kind}_encoder.pos_embed.table", (f"{encoder}{kind}_pos_emb/emb_var",)),
        *_block_rules(f"{kind}_encoder.blocks", f"{encoder}{kind}_encoder", heads),
        *_norm(f"{kind}_encoder.norm", f"{encoder}{kind}_ln"),
    ]


def _block_rules(target: str, source: str, heads: int) -> list[Rule]:
    block, original = f"{target}.{{i}}", f"{source}/transformers_stack/x_layers/{{i}}"
    return [
        *_norm(f"{block}.norm1", f"{original}/layer_norm"),
        *_projections(f"{block}.attn.qkv", f"{original}/self_attention", ("query", "key", "value"), heads),
        *_result(f"{block}.attn.proj", f"{original}/self_attention", heads),
        *_norm(f"{block}.norm2", f"{original}/ff_layer/layer_norm"),
        *_dense(f"{block}.mlp.fc1", f"{original}/ff_layer/ffn_layer1/linear"),
        *_dense(f"{block}.mlp.fc2", f"{original}/ff_layer/ffn_layer2/linear"),
    ]


def _projections(target: str, source: str, parts: tuple[str, ...], heads: int) -> list[Rule]:
    count = len(parts)
    kernels = Operation(
        f"{count} x (D heads hd -> W D), stacked",
        lambda *xs: torch.cat([x.flatten(1).T for x in xs]),
        lambda x: [part.T.unflatten(1, (heads, -1)) for part in x.chunk(count)],
    )
    biases = Operation(
        f"{count} x (heads hd -> W), stacked",
        lambda *xs: torch.cat([x.flatten() for x in xs]),
        lambda x: [part.unflatten(0, (heads, -1)) for part in x.chunk(count)],
    )
    return [
        Rule(f"{target}.weight", tuple(f"{source}/{part}/w" for part in parts), kernels),
        Rule(f"{target}.bias", tuple(f"{source}/{part}/b" for part in parts), biases),
    ]


def _result(target: str, source: str, heads: int) -> list[Rule]:
    kernel = Operation("D heads hd -> D W", lambda x: x.flatten(1), lambda x: (x.unflatten(1, (heads, -1)),))
    return [Rule(f"{target}.weight", (f"{source}/post/w",), kernel), Rule(f"{target}.bias", (f"{source}/post/b",))]


def _norm(target: str, source: str) -> list[Rule]:
    """Both sides keep the weight's difference from 1."""
    return [Rule(f"{target}.weight", (f"{source}/scale",), SAME), Rule(f"{target}.bias", (f"{source}/bias",), SAME)]


def _dense(target: str, source: str) -> list[Rule]:
    return [
        Rule(f"{target}.weight", (f"{source}/kernel",), TRANSPOSED),
        Rule(f"{target}.bias", (f"{source}/bias",), SAME),
    ]


def _by_layer(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A tensor for each layer of a stack of layers."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in source.items():
        match = _SCANNED.fullmatch(name)
        if match is None or name.startswith("text_encoder/"):
            tensors[name] = tensor
        else:
            tensors |= {f"{match[1]}/{i}/{match[2]}": layer for i, layer in enumerate(tensor)}
    return tensors
