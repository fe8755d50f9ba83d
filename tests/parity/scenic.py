"""Scenic's ViViT once more, as plain functions of its parameters: what made-up parity cases are computed with.

Nothing of ``tubelet`` is used, so that a case which is made here and passes says that two implementations agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def forward(arguments: Mapping[str, Any], weights: Weights, clip: Tensor) -> dict[str, Tensor]:
    """Logits and what the pooled vector is, of clips ``[B T H W C]``."""
    x = _tokens(arguments, weights, clip)  # B T S D
    kind, pooling = arguments["attention_config"]["type"], arguments["classifier"]
    if kind == "factorized_encoder":
        b = len(x)
        x = _encoder("SpatialTransformer", weights, x.flatten(0, 1), pooling).unflatten(0, (b, -1))  # B T D
        if arguments["attention_config"].get("spatial_only_baseline"):
            x = x.mean(1)
        else:
            x = _encoder("TemporalTransformer", weights, x, pooling)
    elif kind == "spacetime":
        x = _encoder("Transformer", weights, x.flatten(1, 2), pooling)
    else:
        shape = x.shape
        x = (x.flatten(1, 2) + weights["Transformer/posembed_input/pos_embedding"]).reshape(shape)
        for i in range(arguments["num_layers"]):
            block = f"Transformer/encoderblock_{i}"
            x = (
                _model_4(weights, block, x)
                if kind.endswith("product_attention")
                else _model_3(arguments, weights, block, x)
            )
        x = _pool(_norm(weights, "Transformer/encoder_norm", x.flatten(1, 2)), pooling)
    if arguments.get("representation_size"):
        x = torch.tanh(_dense(weights, "pre_logits", x))
    return {"pre_logits": x, "logits": _dense(weights, "output_projection", x)}


def _tokens(arguments: Mapping[str, Any], weights: Weights, clip: Tensor) -> Tensor:
    h, w, *t = arguments["patches"]
    t = t[0] if t else 1
    if n := arguments["temporal_encoding_config"].get("n_sampled_frames"):
        step = clip.shape[1] / (n + 1)
        clip = clip[:, [round((i + 1) * step) for i in range(n)]]
    kernel = weights["embedding/kernel"]
    kernel = kernel if kernel.ndim == 5 else kernel[None]
    blocks = clip.unfold(1, t, t).unfold(2, h, h).unfold(3, w, w)  # B T H W C t h w
    x = torch.einsum("btijcxyz,xyzcd->btijd", blocks, kernel) + weights["embedding/bias"]
    return x.flatten(2, 3)


def _encoder(name: str, weights: Weights, x: Tensor, pooling: str) -> Tensor:
    """Class token, positions, blocks, norm, and the pooled vector."""
    if pooling == "token":
        token = weights["cls" if name == "Transformer" else f"cls_{name}"]
        x = torch.cat([token.expand(len(x), -1, -1), x], dim=1)
    x = x + weights[f"{name}/posembed_input/pos_embedding"]
    i = 0
    while f"{name}/encoderblock_{i}/LayerNorm_0/scale" in weights:
        block = f"{name}/encoderblock_{i}"
        y = _norm(weights, f"{block}/LayerNorm_0", x)
        x = x + _out(weights, f"{block}/MultiHeadDotProductAttention_0", _attend(*_qkv(weights, block, "_0", y)))
        x = x + _mlp(weights, f"{block}/MlpBlock_0", _norm(weights, f"{block}/LayerNorm_1", x))
        i += 1
    return _pool(_norm(weights, f"{name}/encoder_norm", x), pooling)


def _model_3(arguments: Mapping[str, Any], weights: Weights, block: str, x: Tensor) -> Tensor:
    for axis in arguments["attention_config"]["attention_order"].split("_"):
        y = _norm(weights, f"{block}/LayerNorm_{axis}", x)
        qkv = _qkv(weights, block, f"_{axis}", y)  # B T S heads d
        y = _attend(*qkv) if axis == "space" else _attend(*(z.transpose(1, 2) for z in qkv)).transpose(1, 2)
        x = x + _out(weights, f"{block}/MultiHeadDotProductAttention_{axis}", y)
    return x + _mlp(weights, f"{block}/MlpBlock", _norm(weights, f"{block}/LayerNorm_mlp", x))


def _model_4(weights: Weights, block: str, x: Tensor) -> Tensor:
    qkv = _qkv(weights, block, "_0", _norm(weights, f"{block}/LayerNorm_0", x))
    half = qkv[0].shape[-2] // 2
    over_time = _attend(*(z[..., :half, :].transpose(1, 2) for z in qkv)).transpose(1, 2)
    y = torch.cat([over_time, _attend(*(z[..., half:, :] for z in qkv))], dim=-2)
    x = x + _out(weights, f"{block}/MultiHeadDotProductAttention_0", y)
    return x + _mlp(weights, f"{block}/MlpBlock_0", _norm(weights, f"{block}/LayerNorm_1", x))


def _qkv(weights: Weights, block: str, suffix: str, x: Tensor) -> list[Tensor]:
    name = f"{block}/MultiHeadDotProductAttention{suffix}"
    return [
        torch.einsum("...d,dhe->...he", x, weights[f"{name}/{part}/kernel"]) + weights[f"{name}/{part}/bias"]
        for part in ("query", "key", "value")
    ]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("...qhe,...khe->...hqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("...hqk,...khe->...qhe", scores.softmax(-1), v)


def _out(weights: Weights, name: str, x: Tensor) -> Tensor:
    return torch.einsum("...he,hed->...d", x, weights[f"{name}/out/kernel"]) + weights[f"{name}/out/bias"]


def _mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    return _dense(weights, f"{name}/Dense_1", F.gelu(_dense(weights, f"{name}/Dense_0", x), approximate="tanh"))


def _dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return x * weights[f"{name}/scale"] + weights[f"{name}/bias"]


def _pool(x: Tensor, pooling: str) -> Tensor:
    if pooling in ("token", "0"):
        return x[:, 0]
    return {"gap": x.mean(1), "gmp": x.amax(1), "gsp": x.sum(1)}[pooling]
