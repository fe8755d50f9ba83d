"""Names and layouts of the official ViViT weights (flax trees, names joined by "/") for tubelet's ViViT.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model.py``. Layouts there: convolution kernels
``[t, h, w, in, out]``, dense kernels ``[in, out]``, attention query/key/value kernels ``[D, heads, head_dim]`` and
out kernels ``[heads, head_dim, D]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tubelet.models.vivit import (
    ViViTAveragePool,
    ViViTFactorizedDotProduct,
    ViViTFactorizedEncoder,
    ViViTFactorizedSelfAttention,
    ViViTJoint,
)
from tubelet.weights.convert import MappingReport, Rule, map_weights


def from_scenic(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet ViViT from scenic's parameters, and the report of the mapping.

    Raises:
        CheckpointError: any parameter is missing, left over or of another shape.
    """
    return map_weights(source, model, [*_COMMON, *_RULES[type(model)]])


def _same(x: Tensor) -> Tensor:
    return x


def _kernel(x: Tensor) -> Tensor:
    return x.T  # in out -> out in


def _conv_kernel(x: Tensor) -> Tensor:
    return x.movedim((-1, -2), (0, 1))  # (t) h w in out -> out in (t) h w


def _qkv_kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.cat([x.flatten(1).T for x in (q, k, v)])  # each D heads hd -> D D; stacked 3D D


def _qkv_bias(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.cat([x.flatten() for x in (q, k, v)])


def _out_kernel(x: Tensor) -> Tensor:
    return x.flatten(0, 1).T  # heads hd D -> D D


def _token(x: Tensor) -> Tensor:
    return x.flatten()  # 1 1 D -> D


def _table(x: Tensor) -> Tensor:
    return x.squeeze(0)  # 1 rows D -> rows D


def _norm(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.weight", (f"{source}/scale",), _same), Rule(f"{target}.bias", (f"{source}/bias",), _same)]


def _dense(target: str, source: str) -> list[Rule]:
    return [
        Rule(f"{target}.weight", (f"{source}/kernel",), _kernel),
        Rule(f"{target}.bias", (f"{source}/bias",), _same),
    ]


def _attention(target: str, source: str) -> list[Rule]:
    kernels = tuple(f"{source}/{name}/kernel" for name in ("query", "key", "value"))
    biases = tuple(f"{source}/{name}/bias" for name in ("query", "key", "value"))
    return [
        Rule(f"{target}.qkv.weight", kernels, _qkv_kernel),
        Rule(f"{target}.qkv.bias", biases, _qkv_bias),
        Rule(f"{target}.proj.weight", (f"{source}/out/kernel",), _out_kernel),
        Rule(f"{target}.proj.bias", (f"{source}/out/bias",), _same),
    ]


def _blocks(target: str, source: str) -> list[Rule]:
    """Position table, standard blocks and final norm; ``target`` is "" or a module name with its dot."""
    block, original = f"{target}blocks.{{i}}", f"{source}/encoderblock_{{i}}"
    return [
        Rule(f"{target}pos_embed.table", (f"{source}/posembed_input/pos_embedding",), _table),
        *_norm(f"{block}.norm1", f"{original}/LayerNorm_0"),
        *_attention(f"{block}.attn", f"{original}/MultiHeadDotProductAttention_0"),
        *_norm(f"{block}.norm2", f"{original}/LayerNorm_1"),
        *_dense(f"{block}.mlp.fc1", f"{original}/MlpBlock_0/Dense_0"),
        *_dense(f"{block}.mlp.fc2", f"{original}/MlpBlock_0/Dense_1"),
        *_norm(f"{target}norm", f"{source}/encoder_norm"),
    ]


def _factorized_self_attention_blocks() -> list[Rule]:
    block, original = "blocks.{i}", "Transformer/encoderblock_{i}"
    rules = [Rule("pos_embed.table", ("Transformer/posembed_input/pos_embedding",), _table)]
    for axis in ("space", "time"):
        rules += _norm(f"{block}.norm_{axis}", f"{original}/LayerNorm_{axis}")
        rules += _attention(f"{block}.attn_{axis}", f"{original}/MultiHeadDotProductAttention_{axis}")
    rules += _norm(f"{block}.norm_mlp", f"{original}/LayerNorm_mlp")
    rules += _dense(f"{block}.mlp.fc1", f"{original}/MlpBlock/Dense_0")
    rules += _dense(f"{block}.mlp.fc2", f"{original}/MlpBlock/Dense_1")
    return rules + _norm("norm", "Transformer/encoder_norm")


_COMMON = [
    Rule("tokenizer.proj.weight", ("embedding/kernel",), _conv_kernel),
    Rule("tokenizer.proj.bias", ("embedding/bias",), _same),
    *_dense("pre_logits.0", "pre_logits"),
    *_dense("head", "output_projection"),
]
_SPATIAL = [
    Rule("spatial_encoder.cls_token", ("cls_SpatialTransformer",), _token),
    *_blocks("spatial_encoder.", "SpatialTransformer"),
]
_TEMPORAL = [
    Rule("temporal_encoder.cls_token", ("cls_TemporalTransformer",), _token),
    *_blocks("temporal_encoder.", "TemporalTransformer"),
]
_RULES: dict[type[nn.Module], list[Rule]] = {
    ViViTJoint: [Rule("encoder.cls_token", ("cls",), _token), *_blocks("encoder.", "Transformer")],
    ViViTFactorizedEncoder: [*_SPATIAL, *_TEMPORAL],
    ViViTAveragePool: _SPATIAL,
    ViViTFactorizedSelfAttention: _factorized_self_attention_blocks(),
    ViViTFactorizedDotProduct: _blocks("", "Transformer"),
}
