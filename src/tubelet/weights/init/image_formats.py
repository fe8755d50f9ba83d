"""Image ViTs in the formats of timm, scenic (and vision_transformer) and HuggingFace, read as a ViViT of one frame.

Sources: timm's ``vision_transformer.py``; google-research/scenic, commit 4a38d475, ``projects/baselines/vit.py``, and
google-research/vision_transformer (the same tree with other numbers in its names); transformers 4 and 5, ``ViTModel``.

A file of weights alone does not say its GELU, the epsilon of its norms or (timm, HuggingFace) its number of heads; they
are those that its format has by default, which the notes say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.model import ViViTJoint
from tubelet.models.vivit.weights import scenic_rules
from tubelet.weights.init.image_vit import ImageViT, NoPlainViTError
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights, stacked

HEAD_DIM = 64  # channels of a head in every published ViT of the sizes Ti to L


def image_vit(
    weights: Mapping[str, Tensor],
    name: str,
    fields: Mapping[str, Any] | None = None,
    image_grid: tuple[int, int] | None = None,
) -> ImageViT:
    """The image ViT that ``weights`` hold, whichever of the three formats they are in.

    Args:
        weights: tensors under their original names.
        name: what messages call it.
        fields: fields of ``ViViTConfig`` that are known from elsewhere (activation, norm_eps, num_heads).
        image_grid: patches (h, w) of the position table; none: a square.

    Raises:
        CheckpointError: no image ViT, or one with parts that a ViViT has no place for (the first few are named).
    """
    reader = next((reader for key, reader in _READERS if any(key in n for n in weights)), None)
    if reader is None:
        raise NoPlainViTError(
            f"{name}: no image ViT: expected the names of timm (patch_embed.proj.weight), of HuggingFace "
            "(embeddings.patch_embeddings.projection.weight) or of flax (embedding/kernel), found "
            f"{', '.join(list(weights)[:3])}"
        )
    try:
        return reader(weights, name, dict(fields or {}), image_grid)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise NoPlainViTError(f"{name}: names or shapes are not those of an image ViT ({error})") from None
    except CheckpointError as error:
        raise type(error)(f"{name}: {error}") from None


def _config(
    kernel: Sequence[int], rows: int, has_class: bool, grid: tuple[int, int] | None, known: Mapping[str, Any]
) -> ViViTConfig:
    """The config of a ViViT of one frame from a patch kernel (D, C, h, w) and the rows of a position table."""
    width, channels, patch_h, patch_w = kernel
    if grid is None:
        grid = (math.isqrt(rows), math.isqrt(rows))
    if grid[0] * grid[1] != rows:
        raise CheckpointError(
            f"the position table has {rows} rows for patches, which is not a grid of {grid[0]}x{grid[1]}; give "
            "init.image_grid (h, w)"
        )
    fields = {
        "in_channels": channels,
        "num_frames": 1,
        "num_sampled_frames": 1,
        "tubelet_size": (1, patch_h, patch_w),
        "image_size": (grid[0] * patch_h, grid[1] * patch_w),
        "embed_dim": width,
        "global_pool": "token" if has_class else "avg",
    }
    return config_io.from_dict(ViViTConfig, {**fields, **known}, where="image model")


def _mapped(
    weights: Mapping[str, Tensor],
    config: ViViTConfig,
    name: str,
    notes: Sequence[str],
    map_to: Callable[[Mapping[str, Tensor], nn.Module], tuple[dict[str, Tensor], MappingReport]],
) -> ImageViT:
    with torch.device("meta"):
        model = ViViTJoint(config)
    state, report = map_to(weights, model)
    tensors = {n: t for n, t in state.items() if n not in report.fresh}
    return ImageViT(config=config, tensors=tensors, name=name, dropped=report.dropped, notes=(*notes, *report.notes))


def _heads(known: dict[str, Any], width: int) -> bool:
    """Fill in the number of heads where it is not known; whether it was not."""
    unknown = "num_heads" not in known
    known.setdefault("num_heads", max(1, width // HEAD_DIM))
    return unknown


def _assumed(known: dict[str, Any], whose: str, notes: list[str], **defaults: Any) -> None:
    """Fill what the file does not say with the defaults of its format, and say so."""
    missing = {key: value for key, value in defaults.items() if key not in known}
    known |= missing
    if missing:
        told = ", ".join(f"{key}={value}" for key, value in missing.items())
        notes.append(f"{told} taken for granted: {whose} default, not in the weights")


def _depth(weights: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(m[1]) for n in weights if (m := re.search(pattern, n)))


# -- timm -------------------------------------------------------------------------------------------------------------

_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten())
_TABLE = Operation("1 rows D -> rows D", lambda x: x[0] if x.ndim == 3 else x)
_TABLE_WITHOUT_CLASS = Operation(
    "1 rows D -> 1+rows D, none for the class token", lambda x: nn.functional.pad(x[0], (0, 0, 1, 0))
)
_SCALED = Operation("times layer scale", lambda x, gamma: x * gamma.view(-1, *[1] * (x.ndim - 1)))
_NO_HEAD = {r"head\..*": "the image model has no classifier"}


def _from_timm(
    weights: Mapping[str, Tensor], name: str, known: dict[str, Any], grid: tuple[int, int] | None
) -> ImageViT:
    notes: list[str] = []
    for part, why in (("norm_pre.weight", "a norm before its blocks"), ("reg_token", "register tokens"),
                      ("dist_token", "a distillation token")):  # fmt: skip
        if part in weights:
            raise NoPlainViTError(f"this image model has {why} ({part}), which a ViViT has no place for; a VTN has")
    kernel, has_class = weights["patch_embed.proj.weight"].shape, "cls_token" in weights
    rows = weights["pos_embed"].shape[-2]
    # Models made without a row for the class token (timm's no_embed_class) have as many rows as patches.
    patches = math.isqrt(rows) ** 2 if grid is None else grid[0] * grid[1]
    classless = has_class and rows == patches
    heads_unknown = _heads(known, kernel[0])
    _assumed(known, "timm's", notes, activation="gelu", norm_eps=1e-6)
    known |= {
        "depth": _depth(weights, r"^blocks\.(\d+)\."),
        "mlp_ratio": len(weights["blocks.0.mlp.fc1.weight"]) / kernel[0],
        "qkv_bias": "blocks.0.attn.qkv.bias" in weights,
        "num_classes": len(weights["head.weight"]) if "head.weight" in weights else 1,
    }
    if "pre_logits.fc.weight" in weights:
        known["representation_size"] = len(weights["pre_logits.fc.weight"])
    config = _config(kernel, rows - int(has_class and not classless), has_class, grid, known)
    if "norm.weight" not in weights and "fc_norm.weight" in weights:
        notes.append("its norm stands behind the mean over tokens, in a ViViT before it")
    rules = _timm_rules(weights, classless)
    dropped = {r"fc_norm\..*|attn_pool\..*": "pooling of the image model", r"head_drop\..*": "no weights"}
    fresh = None if "head.weight" in weights else _NO_HEAD
    image = _mapped(weights, config, name, notes, lambda w, m: map_weights(w, m, rules, dropped, fresh))
    return replace(image, heads_unknown=heads_unknown)


def _timm_rules(weights: Mapping[str, Tensor], classless: bool) -> list[Rule]:
    norm = "norm" if "norm.weight" in weights else "fc_norm"
    rules = [
        Rule("encoder.cls_token", ("cls_token",), _TOKEN),
        Rule("encoder.pos_embed.table", ("pos_embed",), _TABLE_WITHOUT_CLASS if classless else _TABLE),
    ]
    block, original = "encoder.blocks.{i}", "blocks.{i}"
    for kind in ("weight", "bias"):
        names = {"tokenizer.proj": "patch_embed.proj", "encoder.norm": norm, "pre_logits.0": "pre_logits.fc"}
        names |= {f"{block}.{part}": f"{original}.{part}" for part in ("norm1", "attn.qkv", "norm2", "mlp.fc1")}
        rules += [Rule(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for ours, theirs in {**names, "head": "head"}.items()]
        for part, scale in (("attn.proj", "ls1"), ("mlp.fc2", "ls2")):
            if f"blocks.0.{scale}.gamma" in weights:  # the scale behind a linear layer is that of its rows
                sources = (f"{original}.{part}.{kind}", f"{original}.{scale}.gamma")
                rules.append(Rule(f"{block}.{part}.{kind}", sources, _SCALED))
            else:
                rules.append(Rule(f"{block}.{part}.{kind}", (f"{original}.{part}.{kind}",)))
    return rules


# -- HuggingFace ------------------------------------------------------------------------------------------------------

_HF_4 = {
    **{"q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value"},
    **{"out": "attention.output.dense", "fc1": "intermediate.dense", "fc2": "output.dense"},
}
_HF_5 = {
    **{"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "out": "attention.o_proj"},
    **{"fc1": "mlp.fc1", "fc2": "mlp.fc2"},
}


def _from_huggingface(
    weights: Mapping[str, Tensor], name: str, known: dict[str, Any], grid: tuple[int, int] | None
) -> ImageViT:
    notes: list[str] = []
    embeddings = next(n for n in weights if n.endswith("embeddings.patch_embeddings.projection.weight"))
    prefix = embeddings.removesuffix("embeddings.patch_embeddings.projection.weight")
    is_4 = any(n.startswith(f"{prefix}encoder.layer.") for n in weights)
    layer = f"{prefix}encoder.layer." if is_4 else f"{prefix}layers."
    kernel = weights[embeddings].shape
    heads_unknown = _heads(known, kernel[0])
    _assumed(known, "HuggingFace's", notes, activation="gelu", norm_eps=1e-12)
    parts = _HF_4 if is_4 else _HF_5
    known |= {
        "depth": _depth(weights, rf"^{re.escape(layer)}(\d+)\."),
        "mlp_ratio": len(weights[f"{layer}0.{parts['fc1']}.weight"]) / kernel[0],
        "qkv_bias": f"{layer}0.{parts['q']}.bias" in weights,
        "num_classes": len(weights["classifier.weight"]) if "classifier.weight" in weights else 1,
    }
    config = _config(kernel, weights[f"{prefix}embeddings.position_embeddings"].shape[1] - 1, True, grid, known)
    rules = _huggingface_rules(prefix, layer, parts)
    dropped = {
        rf"{re.escape(prefix)}pooler\..*": "pooler: its classifier does not use it",
        rf"{re.escape(prefix)}embeddings\.mask_token": "mask of its pretraining",
    }
    fresh = None if "classifier.weight" in weights else _NO_HEAD
    image = _mapped(weights, config, name, notes, lambda w, m: map_weights(w, m, rules, dropped, fresh))
    return replace(image, heads_unknown=heads_unknown)


def _huggingface_rules(prefix: str, layer: str, parts: Mapping[str, str]) -> list[Rule]:
    block, original, embeddings = "encoder.blocks.{i}", f"{layer}{{i}}", f"{prefix}embeddings"
    rules = [
        Rule("encoder.cls_token", (f"{embeddings}.cls_token",), _TOKEN),
        Rule("encoder.pos_embed.table", (f"{embeddings}.position_embeddings",), _TABLE),
    ]
    for kind in ("weight", "bias"):
        names = {
            "tokenizer.proj": f"{embeddings}.patch_embeddings.projection",
            f"{block}.norm1": f"{original}.layernorm_before",
            f"{block}.attn.proj": f"{original}.{parts['out']}",
            f"{block}.norm2": f"{original}.layernorm_after",
            f"{block}.mlp.fc1": f"{original}.{parts['fc1']}",
            f"{block}.mlp.fc2": f"{original}.{parts['fc2']}",
            "encoder.norm": f"{prefix}layernorm",
            "head": "classifier",
        }
        rules += [Rule(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for ours, theirs in names.items()]
        qkv = tuple(f"{original}.{parts[x]}.{kind}" for x in "qkv")
        rules.append(Rule(f"{block}.attn.qkv.{kind}", qkv, stacked(3)))
    return rules


# -- flax -------------------------------------------------------------------------------------------------------------

# vision_transformer and big_vision number the parts of a block in one count, scenic each kind apart.
_AS_IN_SCENIC = {
    "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
    "LayerNorm_2": "LayerNorm_1",
    "MlpBlock_3": "MlpBlock_0",
}


def _from_flax(
    weights: Mapping[str, Tensor], name: str, known: dict[str, Any], grid: tuple[int, int] | None
) -> ImageViT:
    named = {_scenic_name(n): t for n, t in weights.items()}
    notes: list[str] = []
    if named["embedding/kernel"].ndim != 4:
        raise CheckpointError(
            "its patches are tubelets: a video model, not an image model; make a checkpoint of it first with "
            "`tubelet convert scenic`"
        )
    height, width, channels, embed_dim = named["embedding/kernel"].shape
    first = "Transformer/encoderblock_0"
    has_class = "cls" in named
    _assumed(known, "flax's", notes, activation="gelu_tanh", norm_eps=1e-6)
    known |= {
        "depth": _depth(named, r"encoderblock_(\d+)/"),
        "num_heads": named[f"{first}/MultiHeadDotProductAttention_0/query/kernel"].shape[1],
        "mlp_ratio": named[f"{first}/MlpBlock_0/Dense_0/kernel"].shape[1] / embed_dim,
        "num_classes": named["output_projection/kernel"].shape[1] if "output_projection/kernel" in named else 1,
    }
    if "pre_logits/kernel" in named:
        known["representation_size"] = named["pre_logits/kernel"].shape[1]
    rows = named["Transformer/posembed_input/pos_embedding"].shape[1] - int(has_class)
    config = _config((embed_dim, channels, height, width), rows, has_class, grid, known)
    fresh = None if "output_projection/kernel" in named else _NO_HEAD
    return _mapped(named, config, name, notes, lambda w, m: map_weights(w, m, scenic_rules(m), None, fresh))


def _scenic_name(name: str) -> str:
    for theirs, scenics in _AS_IN_SCENIC.items():
        name = name.replace(theirs, scenics)
    return re.sub(r"^head/", "output_projection/", name)


_READERS = (
    ("patch_embed.proj.weight", _from_timm),
    ("embeddings.patch_embeddings.projection.weight", _from_huggingface),
    ("embedding/kernel", _from_flax),
)
