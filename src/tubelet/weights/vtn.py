"""Names of the official VTN weights for tubelet's VTN.

Source: bomri/SlowFast, commit 00a68201, ``slowfast/models/video_model_builder.py`` (class ``VTN``); the encoder's names
are those of HuggingFace's Longformer. Query, key and value are three linear layers there and one stacked here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tubelet.weights.convert import SAME, MappingReport, Operation, Rule, map_back, map_weights, stacked

# Checkpoints written with the libraries of 2021 hold this buffer of row numbers.
DROPPED = {r"temporal_encoder\.embeddings\.position_ids": "a buffer of row numbers"}

_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))


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
