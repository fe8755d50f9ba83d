"""Names and layouts of V-JEPA 2's released weights for tubelet's: encoder, predictor and probe.

Source: facebookresearch/vjepa2, commit c2963a47, ``src/models``; ``parts.py`` reads the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.family import config_of, create
from tubelet.models.vjepa2.parts import read_parts
from tubelet.models.vjepa2.recognize import license_facts, model_of, protocol_of
from tubelet.models.vjepa2.variants import MODELS
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights

TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
KINDS = ("weight", "bias")
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_TOKENS = Operation(
    "1 1 D each -> tokens D",
    lambda *tokens: torch.cat([token.flatten(0, 1) for token in tokens]),
    lambda x: [token[None, None] for token in x],
)
_NO_TABLE = {r"encoder\.pos_embed|predictor\.predictor_pos_embed": "a table, which rotary positions do not read"}
NO_PREDICTOR = {r"(vjepa2\.)?predictor\..*": "the predictor, which pre-training alone needs"}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A released encoder, which has no classes, or a folder with an encoder and a probe for it.

    Raises:
        CheckpointError: unreadable, no V-JEPA 2, a probe alone, or weights that do not fit strictly.
    """
    weights = read_parts(path, options.which)
    try:
        name, fields, notes = model_of(weights.tensors, options.model)
        model = create(MODELS, name, fields)
        state, report = from_official(weights.tensors, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    protocol, protocol_notes = protocol_of(config)
    facts = {
        "source": "vjepa2",
        **license_facts(config),
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines)


def from_official(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet V-JEPA 2, or of its pre-training model, and the report of the mapping.

    Args:
        source: ``encoder.``, ``predictor.`` and ``classifier.`` before the official names.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    dropped = _NO_TABLE if hasattr(model, "predictor") else _NO_TABLE | NO_PREDICTOR
    return map_weights(source, model, official_rules(model), dropped)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """The official parameters, with ``encoder.``, ``predictor.`` and ``classifier.`` before the official names."""
    return map_back(model.state_dict(), official_rules(model))


def official_rules(model: nn.Module) -> list[Rule]:
    pool = "classifier.pooler.cross_attention_block"
    return [
        *both("encoder.tokenizer.proj", "encoder.patch_embed.proj"),
        *same_layers("encoder.blocks.{i}", "encoder.blocks.{i}", BLOCK),
        *both("encoder.norm", "encoder.norm"),
        *_rules_of_2_1(),
        *same_layers("pooler.blocks.{i}", "classifier.pooler.blocks.{i}", BLOCK),
        Rule("pooler.query_token", ("classifier.pooler.query_tokens",), TOKEN),
        *same_layers("pooler.pool", pool, ("norm1", "norm2", "mlp.fc1", "mlp.fc2")),
        *both("pooler.pool.attn.q", f"{pool}.xattn.q"),
        *both("pooler.pool.attn.kv", f"{pool}.xattn.kv"),
        *both("head", "classifier.linear"),
        *both("predictor.embed", "predictor.predictor_embed"),
        Rule(
            "predictor.mask_tokens", tuple(f"predictor.mask_tokens.{i}" for i in range(num_mask_tokens(model))), _TOKENS
        ),
        *same_layers("predictor.blocks.{i}", "predictor.predictor_blocks.{i}", BLOCK),
        *both("predictor.norm", "predictor.predictor_norm"),
        *both("predictor.proj", "predictor.predictor_proj"),
    ]


def _rules_of_2_1() -> list[Rule]:
    """What V-JEPA 2.1 has besides."""
    return [
        *both("encoder.norms.{i}", "encoder.norms_block.{i}"),
        *both("encoder.image_tokenizer.proj", "encoder.patch_embed_img.proj"),
        Rule("encoder.image_embed", ("encoder.img_mod_embed",), TOKEN),
        Rule("encoder.video_embed", ("encoder.video_mod_embed",), TOKEN),
    ]


def num_mask_tokens(model: nn.Module) -> int:
    return len(dict(model.named_parameters()).get("predictor.mask_tokens", ()))


def same_layers(target: str, source: str, layers: tuple[str, ...]) -> list[Rule]:
    return [rule for layer in layers for rule in both(f"{target}.{layer}", f"{source}.{layer}")]


def both(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.{kind}", (f"{source}.{kind}",), SAME) for kind in KINDS]
