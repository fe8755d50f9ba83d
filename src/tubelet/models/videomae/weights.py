"""Names and layouts of VideoMAE's released weights for tubelet's VideoMAE, fine-tuned or pre-trained.

Sources: MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_finetune.py``, ``modeling_pretrain.py``,
``run_class_finetuning.py``; OpenGVLab/VideoMAEv2, commit 29eab1e8. Files hold a state dict under ``model`` or
``module``; that of a pre-trained model has ``encoder.`` before the encoder's names and a decoder beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import config_of, create
from tubelet.models.videomae.recognize import license_facts, model_of, protocol_of
from tubelet.models.videomae.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights

TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
KINDS = ("weight", "bias")
# Of a pre-trained model, what an encoder has no place for.
DECODER = {r"decoder\..*|mask_token|encoder_to_decoder\..*": "the decoder, which pre-training alone needs"}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released file. A fine-tuned model becomes a classifier, a pre-trained one an encoder without classes.

    Raises:
        CheckpointError: unreadable, no VideoMAE, or weights that do not fit strictly.
    """
    weights = read_weights(path, options.which)
    try:
        source = {name.removeprefix("backbone."): tensor for name, tensor in weights.tensors.items()}
        name, fields, notes = model_of(source, options.model)
        model = create(MODELS, name, fields)
        state, report = from_official(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    protocol, protocol_notes = protocol_of(config)
    facts = {
        "source": "videomae",
        **license_facts(config),
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VideoMAE, or of its pre-training model, and the report of the mapping.

    An encoder drops the decoder of a pre-trained source.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    pretrained = any(name.startswith("encoder.") for name in source)
    dropped = {} if hasattr(model, "decoder") else DECODER
    return map_weights(source, model, official_rules("encoder." if pretrained else ""), dropped)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters under the official names, from a tubelet VideoMAE or its pre-training model."""
    return map_back(model.state_dict(), official_rules("encoder." if hasattr(model, "decoder") else ""))


def official_rules(encoder: str) -> list[Rule]:
    """The rules of both models; ``encoder`` stands before the encoder's names in a pre-trained file."""
    return [
        *both("encoder.tokenizer.proj", f"{encoder}patch_embed.proj"),
        *block_rules("encoder.blocks.{i}", f"{encoder}blocks.{{i}}"),
        *both("encoder.norm", f"{encoder}norm"),
        *both("fc_norm", "fc_norm"),
        *both("head", "head"),
        Rule("encoder_to_decoder.weight", ("encoder_to_decoder.weight",)),
        Rule("mask_token", ("mask_token",), TOKEN),
        *block_rules("decoder.blocks.{i}", "decoder.blocks.{i}"),
        *both("decoder.norm", "decoder.norm"),
        *both("decoder.head", "decoder.head"),
    ]


def block_rules(target: str, source: str) -> list[Rule]:
    biases = (Rule(f"{target}.attn.qkv.{x}_bias", (f"{source}.attn.{x}_bias",)) for x in "qv")
    layers = ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    same = (rule for layer in layers for rule in both(f"{target}.{layer}", f"{source}.{layer}"))
    return [Rule(f"{target}.attn.qkv.weight", (f"{source}.attn.qkv.weight",)), *biases, *same]


def both(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.{kind}", (f"{source}.{kind}",), SAME) for kind in KINDS]
