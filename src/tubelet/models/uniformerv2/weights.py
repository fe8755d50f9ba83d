"""Names and layouts of UniFormerV2's released weights for tubelet's UniFormerV2: the official files, and MMAction2's.

Source: OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py`` and its checkpoint loader;
open-mmlab/mmaction2, commit 4d6c9347, ``mmaction/models/backbones/uniformerv2.py``. Released files put ``backbone.``
before every name. MMAction2 keeps the head's LayerNorm as ``transformer.norm`` and its linear layer in ``cls_head``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError, reason
from tubelet.models.family import config_of, create
from tubelet.models.uniformerv2.recognize import model_of, protocol_of
from tubelet.models.uniformerv2.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights

# MMAction2's name of a part -> the official one.
_OF_MMACTION2 = {"backbone.transformer.norm.": "transformer.proj.0.", "cls_head.fc_cls.": "transformer.proj.2."}
_PACKED = re.compile(r"transformer\.dec\.\d+\.attn\.in_proj_(weight|bias)")

_POINTWISE = Operation("R D 1 1 1 -> R D", lambda x: x.flatten(1), lambda x: (x[..., None, None, None],))
_TEMPORAL = Operation("R 1 3 1 1 -> R 1 3 1", lambda x: x.squeeze(-1), lambda x: (x[..., None],))


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released file (``.pyth``, or ``.pth`` of MMAction2).

    ``options.model`` may name ``head_rows``: which rows of the head are the classes of this model, as the first so
    many (K400 are the first 400 of K710) or as a JSON file with a list of row numbers.

    Raises:
        CheckpointError: unreadable, no UniFormerV2, not fitting strictly, or rows that the head does not have.
    """
    fields = dict(options.model)
    rows = fields.pop("head_rows", None)
    weights = read_weights(path, options.which)
    try:
        source, of_mmaction2 = official_names(weights.tensors)
        notes = []
        if rows is not None:
            source = with_head_rows(source, read_head_rows(rows))
            chosen = f"the first {rows}" if isinstance(rows, int) else f"those that {rows} names"
            notes.append(f"head: {chosen} of the rows in the file")
        name, fields, more = model_of(source, fields)
        model = create(MODELS, name, fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    protocol, protocol_notes = protocol_of(config_of(MODELS, name, fields), of_mmaction2)
    facts = {
        "source": "uniformerv2",
        "original": "open-mmlab/mmaction2" if of_mmaction2 else "OpenGVLab/UniFormerV2",
        "license": "apache-2.0" if of_mmaction2 else "mit",
    }
    lines = {"model_notes": [*notes, *more], "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


def official_names(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """A released file's tensors under the names of the official model, and whether they had MMAction2's."""
    of_mmaction2 = any(name.startswith("cls_head.") for name in weights)
    names = _OF_MMACTION2 if of_mmaction2 else {}
    renamed = {}
    for name, tensor in weights.items():
        start = next((s for s in names if name.startswith(s)), None)
        renamed[names[start] + name[len(start) :] if start else name.removeprefix("backbone.")] = tensor
    return renamed, of_mmaction2


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet UniFormerV2 from the official parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    return map_weights(_unpacked(source), model, uniformerv2_rules())


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters under the official names, from a tubelet UniFormerV2.

    Raises:
        CheckpointError: a part that the official model does not have, such as another fusion or another trunk.
    """
    return _packed(map_back(model.state_dict(), uniformerv2_rules()))


def uniformerv2_rules() -> list[Rule]:
    dec = "transformer.dec.{i}"
    return [
        *clip_rules(),
        *_local_rules("local1", "lmhra1"),
        *_local_rules("local2", "lmhra2"),
        Rule("fusion.query", ("transformer.temporal_cls_token",)),
        Rule("pool.balance", ("transformer.balance",)),
        *both("fusion.blocks.{i}.dpe.conv", "transformer.dpe.{i}"),
        *(rule for n in (1, 2, 3) for rule in both(f"fusion.blocks.{{i}}.norm{n}", f"{dec}.ln_{n}")),
        *(
            Rule(f"fusion.blocks.{{i}}.attn.{part}.{kind}", (f"{dec}.attn.in_proj_{kind}.{part}",))
            for part in ("q", "kv")
            for kind in ("weight", "bias")
        ),
        *both("fusion.blocks.{i}.attn.proj", f"{dec}.attn.out_proj"),
        *both("fusion.blocks.{i}.mlp.fc1", f"{dec}.mlp.c_fc"),
        *both("fusion.blocks.{i}.mlp.fc2", f"{dec}.mlp.c_proj"),
        *both("norm", "transformer.proj.0"),
        *both("head", "transformer.proj.2"),
    ]


def clip_rules() -> list[Rule]:
    """The image ViT, whose names are those of OpenAI's CLIP behind ``visual.``; the stem as it is."""
    block = "transformer.resblocks.{i}"
    return [
        Rule("trunk.stem.proj.weight", ("conv1.weight",)),
        Rule("trunk.cls_token", ("class_embedding",)),
        Rule("trunk.pos_embed.table", ("positional_embedding",)),
        *both("trunk.norm_pre", "ln_pre"),
        *both("trunk.blocks.{i}.norm1", f"{block}.ln_1"),
        Rule("trunk.blocks.{i}.attn.qkv.weight", (f"{block}.attn.in_proj_weight",)),
        Rule("trunk.blocks.{i}.attn.qkv.bias", (f"{block}.attn.in_proj_bias",)),
        *both("trunk.blocks.{i}.attn.proj", f"{block}.attn.out_proj"),
        *both("trunk.blocks.{i}.norm2", f"{block}.ln_2"),
        *both("trunk.blocks.{i}.mlp.fc1", f"{block}.mlp.c_fc"),
        *both("trunk.blocks.{i}.mlp.fc2", f"{block}.mlp.c_proj"),
    ]


def both(target: str, source: str) -> list[Rule]:
    """Weight and bias of a layer."""
    return [Rule(f"{target}.{kind}", (f"{source}.{kind}",), SAME) for kind in ("weight", "bias")]


def _local_rules(target: str, source: str) -> list[Rule]:
    ours, theirs = f"trunk.blocks.{{i}}.{target}", f"transformer.resblocks.{{i}}.{source}.pos_embed"
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        *(Rule(f"{ours}.norm.{name}", (f"{theirs}.0.{name}",)) for name in statistics),
        Rule(f"{ours}.reduce.weight", (f"{theirs}.1.weight",), _POINTWISE),
        Rule(f"{ours}.reduce.bias", (f"{theirs}.1.bias",)),
        Rule(f"{ours}.conv.weight", (f"{theirs}.2.weight",), _TEMPORAL),
        Rule(f"{ours}.conv.bias", (f"{theirs}.2.bias",)),
        Rule(f"{ours}.expand.weight", (f"{theirs}.3.weight",), _POINTWISE),
        Rule(f"{ours}.expand.bias", (f"{theirs}.3.bias",)),
    ]


def _unpacked(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The global blocks' packed projection of query, key and value as one of queries and one of keys and values."""
    parts: dict[str, Tensor] = {}
    for name, tensor in source.items():
        if _PACKED.fullmatch(name):
            width = len(tensor) // 3
            parts |= {f"{name}.q": tensor[:width], f"{name}.kv": tensor[width:]}
        else:
            parts[name] = tensor
    return parts


def _packed(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    whole = {name: tensor for name, tensor in source.items() if not name.endswith((".q", ".kv"))}
    for name, tensor in source.items():
        if name.endswith(".q"):
            packed = name.removesuffix(".q")
            whole[packed] = torch.cat([tensor, source[f"{packed}.kv"]])
    return whole


def with_head_rows(source: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """The same weights with a head for the classes ``rows`` of it, in that order.

    Raises:
        CheckpointError: no head, or a row that it does not have.
    """
    names = [f"transformer.proj.2.{kind}" for kind in ("weight", "bias")]
    if any(name not in source for name in names):
        raise CheckpointError(f"head_rows: the file has no head ({names[0]})")
    num_classes = len(source[names[0]])
    wrong = [row for row in rows if not 0 <= row < num_classes]
    if wrong or len(set(rows)) != len(rows) or not rows:
        what = f"row {wrong[0]} is not among them" if wrong else f"{len(rows)} rows, {len(set(rows))} of them distinct"
        raise CheckpointError(f"head_rows: the head has {num_classes} classes; {what}")
    return {**source, **{name: source[name][list(rows)] for name in names}}


def read_head_rows(rows: Any) -> list[int]:
    """``rows`` as numbers: the first so many, a list, or a JSON file that holds a list.

    Raises:
        CheckpointError: it is none of these.
    """
    if isinstance(rows, int) and not isinstance(rows, bool):
        return list(range(rows))
    if isinstance(rows, str | Path):
        try:
            rows = json.loads(Path(rows).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"head_rows: {rows} cannot be read as JSON ({reason(error)})") from None
    if not isinstance(rows, list | tuple) or not all(type(row) is int for row in rows):
        raise CheckpointError("head_rows: expected a number of rows, or a JSON file with a list of row numbers")
    return list(rows)
