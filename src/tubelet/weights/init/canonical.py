"""Image weights of every library under timm's names: one form before any family looks at them.

    timm                       as it is
    OpenAI's CLIP, open_clip   by timm's own filter, the image tower alone
    transformers (4 and 5)     rules; timm has no filter for them
    flax                       rules; timm loads it into a model only, at that model's grid and without a layer before
                               the classifier

What a format does not say of how the weights compute (activation, epsilon, heads) has the format's default where there
is one, which the notes say, and stays unknown where there is none.

Sources: timm's ``vision_transformer.py``; google-research/scenic, commit 4a38d475, ``projects/baselines/vit.py``, and
google-research/vision_transformer (the same tree with other numbers in its names); transformers 4 and 5, ``ViTModel``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.weights.mapping.image_model import ImageFacts, ImageModel, UnsuitedImageError
from tubelet.weights.mapping.rules import TRANSPOSED, Operation, Rule, rename_weights, stacked

_HUGGINGFACE = "embeddings.patch_embeddings.projection.weight"


def canonical(weights: Mapping[str, Tensor], name: str, facts: ImageFacts | None = None) -> ImageModel:
    """The image model that ``weights`` hold, whichever library wrote them.

    Args:
        weights: tensors under their original names.
        name: what messages call it.
        facts: what is known from elsewhere; it goes before what the format says.

    Raises:
        CheckpointError: names or shapes are not those of the format.
    """
    image = ImageModel(tensors=weights, name=name, facts=facts or ImageFacts())
    try:
        if any(_HUGGINGFACE in n for n in weights):
            return _from_huggingface(image)
        if "embedding/kernel" in weights:
            return _from_flax(image)
        if "visual.class_embedding" in weights or {"class_embedding", "conv1.weight"} <= weights.keys():
            return _from_clip(image)
        return image
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise UnsuitedImageError(f"{name}: names or shapes are not those of an image ViT ({error})") from None
    except CheckpointError as error:
        raise type(error)(f"{name}: {error}") from None


# -- CLIP -------------------------------------------------------------------------------------------------------------


def _from_clip(image: ImageModel) -> ImageModel:
    """The image tower by timm's filter, which needs a model to see the patch kernel's shape; the position table is
    kept from the filter, which would resize it to that model's grid."""
    visual = {n: t for n, t in image.tensors.items() if n.startswith("visual.")}
    tower = visual or {f"visual.{n}": t for n, t in image.tensors.items()}
    tower, notes = _one_format(tower)
    table = tower.pop("visual.positional_embedding")
    width, channels, *patch = tower["visual.conv1.weight"].shape
    with torch.device("meta"):
        shape: Any = {"img_size": tuple(patch), "patch_size": tuple(patch), "in_chans": channels}
        model = VisionTransformer(**shape, embed_dim=width, depth=1, num_heads=1, num_classes=0)
    tensors = {**checkpoint_filter_fn(tower, model), "pos_embed": table[None]}
    dropped = {}
    if "visual.proj" in tower:  # timm makes a classifier of it, with a bias of zeros
        dropped["proj"] = "projection to where images and texts meet"
        del tensors["head.weight"], tensors["head.bias"]
    return replace(image, tensors=tensors, source_tensors=image.tensors, dropped=dropped, notes=(*image.notes, *notes))


def _one_format(tower: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """OpenAI's CLIP keeps linear layers and convolutions in half, norms and embeddings in full precision."""
    formats = sorted({str(t.dtype) for t in tower.values() if t.is_floating_point()})
    if len(formats) < 2:
        return dict(tower), []
    whole = {name: t.float() if t.is_floating_point() else t for name, t in tower.items()}
    return whole, [f"{' and '.join(formats)} side by side, as OpenAI's CLIP is kept: all converted to torch.float32"]


# -- transformers -----------------------------------------------------------------------------------------------------

_NAMES_4 = {
    **{"q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value"},
    **{"out": "attention.output.dense", "fc1": "intermediate.dense", "fc2": "output.dense"},
}
_NAMES_5 = {
    **{"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "out": "attention.o_proj"},
    **{"fc1": "mlp.fc1", "fc2": "mlp.fc2"},
}


def _from_huggingface(image: ImageModel) -> ImageModel:
    prefix = next(n for n in image.tensors if n.endswith(_HUGGINGFACE)).removesuffix(_HUGGINGFACE)
    is_4 = any(n.startswith(f"{prefix}encoder.layer.") for n in image.tensors)
    layer, parts = (f"{prefix}encoder.layer.{{i}}", _NAMES_4) if is_4 else (f"{prefix}layers.{{i}}", _NAMES_5)
    rules = [Rule("cls_token", (f"{prefix}embeddings.cls_token",))]
    rules.append(Rule("pos_embed", (f"{prefix}embeddings.position_embeddings",)))
    for kind in ("weight", "bias"):
        names = {
            "patch_embed.proj": f"{prefix}embeddings.patch_embeddings.projection",
            "blocks.{i}.norm1": f"{layer}.layernorm_before",
            "blocks.{i}.attn.proj": f"{layer}.{parts['out']}",
            "blocks.{i}.norm2": f"{layer}.layernorm_after",
            "blocks.{i}.mlp.fc1": f"{layer}.{parts['fc1']}",
            "blocks.{i}.mlp.fc2": f"{layer}.{parts['fc2']}",
            "norm": f"{prefix}layernorm",
            "head": "classifier",
        }
        rules += [Rule(f"{timms}.{kind}", (f"{theirs}.{kind}",)) for timms, theirs in names.items()]
        rules.append(
            Rule(f"blocks.{{i}}.attn.qkv.{kind}", tuple(f"{layer}.{parts[x]}.{kind}" for x in "qkv"), stacked(3))
        )
    dropped = {
        rf"{re.escape(prefix)}pooler\..*": "pooler: its classifier does not use it",
        rf"{re.escape(prefix)}embeddings\.mask_token": "mask of its pretraining",
    }
    image = _assumed(image, "HuggingFace's", activation="gelu", norm_eps=1e-12)
    return _renamed(image, rules, dropped)


# -- flax -------------------------------------------------------------------------------------------------------------

# vision_transformer and big_vision number the parts of a block in one count, scenic each kind apart.
_AS_IN_SCENIC = {
    "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
    "LayerNorm_2": "LayerNorm_1",
    "MlpBlock_3": "MlpBlock_0",
}
_CONV = Operation("h w in out -> out in h w", lambda x: x.movedim((-1, -2), (0, 1)))
_QKV_KERNEL = Operation("3 x (D heads hd -> D D), stacked", lambda *qkv: torch.cat([x.flatten(1).T for x in qkv]))
_QKV_BIAS = Operation("3 x (heads hd -> D), stacked", lambda *qkv: torch.cat([x.flatten() for x in qkv]))
_OUT_KERNEL = Operation("heads hd D -> D D", lambda x: x.flatten(0, 1).T)


def _from_flax(image: ImageModel) -> ImageModel:
    named = {_scenic_name(n): t for n, t in image.tensors.items()}
    if named["embedding/kernel"].ndim != 4:
        raise CheckpointError(
            "its patches are tubelets: a video model, not an image model; make a checkpoint of it first with "
            "`tubelet convert scenic`"
        )
    attention = "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0"
    heads = named[f"{attention.format(i=0)}/query/kernel"].shape[1]
    rules = [
        Rule("patch_embed.proj.weight", ("embedding/kernel",), _CONV),
        Rule("patch_embed.proj.bias", ("embedding/bias",)),
        Rule("cls_token", ("cls",)),
        Rule("pos_embed", ("Transformer/posembed_input/pos_embedding",)),
        *_norm("blocks.{i}.norm1", "Transformer/encoderblock_{i}/LayerNorm_0"),
        Rule(
            "blocks.{i}.attn.qkv.weight",
            tuple(f"{attention}/{x}/kernel" for x in ("query", "key", "value")),
            _QKV_KERNEL,
        ),
        Rule("blocks.{i}.attn.qkv.bias", tuple(f"{attention}/{x}/bias" for x in ("query", "key", "value")), _QKV_BIAS),
        Rule("blocks.{i}.attn.proj.weight", (f"{attention}/out/kernel",), _OUT_KERNEL),
        Rule("blocks.{i}.attn.proj.bias", (f"{attention}/out/bias",)),
        *_norm("blocks.{i}.norm2", "Transformer/encoderblock_{i}/LayerNorm_1"),
        *_dense("blocks.{i}.mlp.fc1", "Transformer/encoderblock_{i}/MlpBlock_0/Dense_0"),
        *_dense("blocks.{i}.mlp.fc2", "Transformer/encoderblock_{i}/MlpBlock_0/Dense_1"),
        *_norm("norm", "Transformer/encoder_norm"),
        *_dense("pre_logits.fc", "pre_logits"),
        *_dense("head", "output_projection"),
    ]
    image = replace(image, tensors=named, facts=replace(image.facts, num_heads=heads))
    return _renamed(_assumed(image, "flax's", activation="gelu_tanh", norm_eps=1e-6), rules, {})


def _scenic_name(name: str) -> str:
    for theirs, scenics in _AS_IN_SCENIC.items():
        name = name.replace(theirs, scenics)
    return re.sub(r"^head/", "output_projection/", name)


def _norm(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.weight", (f"{source}/scale",)), Rule(f"{target}.bias", (f"{source}/bias",))]


def _dense(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.weight", (f"{source}/kernel",), TRANSPOSED), Rule(f"{target}.bias", (f"{source}/bias",))]


# -- both -------------------------------------------------------------------------------------------------------------


def _assumed(image: ImageModel, whose: str, **defaults: Any) -> ImageModel:
    """With the defaults of the format for what is not known, which a note says."""
    missing = {key: value for key, value in defaults.items() if getattr(image.facts, key) is None}
    if not missing:
        return image
    listed = ", ".join(f"{key}={value}" for key, value in missing.items())
    note = f"{listed} taken for granted: {whose} default, not in the weights"
    return replace(image, facts=replace(image.facts, **missing), notes=(*image.notes, note))


def _renamed(image: ImageModel, rules: list[Rule], dropped: Mapping[str, str]) -> ImageModel:
    """Under timm's names in float32, with the grid and the size of its pictures."""
    tensors, why = rename_weights(image.tensors, rules, dropped)
    formats = sorted({str(t.dtype) for t in tensors.values()})
    if len(formats) > 1:
        raise CheckpointError(f"holds {' and '.join(formats)} side by side; expected one number format")
    notes = [f"{other} converted to torch.float32" for other in formats if other != "torch.float32"]
    whole = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    places = whole["pos_embed"].shape[1] - int("cls_token" in whole)
    grid = image.facts.grid or (math.isqrt(places), math.isqrt(places))
    height, width = whole["patch_embed.proj.weight"].shape[-2:]
    facts = replace(image.facts, grid=grid, image_size=(grid[0] * height, grid[1] * width))
    return replace(image, tensors=whole, facts=facts, dropped=why, notes=(*image.notes, *notes))
