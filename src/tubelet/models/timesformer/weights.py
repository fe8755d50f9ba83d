"""Names and layouts of TimeSformer's released weights for tubelet's TimeSformer.

Source: facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py``. Released files keep the state dict
under ``model_state`` with ``model.`` before every name. Code and weights are licensed CC-BY-NC 4.0, which the record
says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import config_of, create
from tubelet.models.timesformer.recognize import model_of, protocol_of
from tubelet.models.timesformer.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights

LICENSE = "cc-by-nc-4.0"

TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
TABLE = Operation("1 rows D -> rows D", lambda x: x.squeeze(0), lambda x: (x[None],))
KINDS = ("weight", "bias")


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released file (``.pyth``).

    Raises:
        CheckpointError: unreadable, no TimeSformer, or weights that do not fit strictly.
    """
    weights = read_weights(path, options.which)
    try:
        source = {name.removeprefix("model."): tensor for name, tensor in weights.tensors.items()}
        name, fields, notes = model_of(source, options.model)
        model = create(MODELS, name, fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    protocol, protocol_notes = protocol_of(config)
    facts = {
        "source": "timesformer",
        "original": "facebookresearch/TimeSformer",
        "license": LICENSE,
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


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
        *both("tokenizer.proj", "patch_embed.proj"),
        *(rule for layer in layers for rule in both(f"{block}.{layer}", f"{block}.{layer}")),
        *both("norm", "norm"),
        *both("head", "head"),
    ]


def both(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.{kind}", (f"{source}.{kind}",), SAME) for kind in KINDS]
