"""Which trunk of a UniFormerV2 an image ViT needs: its size, and the style that its pretraining gave it.

Source: timm's ``vision_transformer.py``, ``deit.py`` and ``beit.py``.
"""

from __future__ import annotations

import math
from typing import Any

import timm
import torch

from tubelet.errors import CheckpointError, nearest
from tubelet.weights.mapping.image_model import ImageModel, UnsuitedImageError, facts_of_timm, newer_part

# What a file cannot say: CLIP as OpenAI trained it, and every other image ViT.
OF_CLIP = {"activation": "quick_gelu", "norm_eps": 1e-5}
_OF_OTHERS = {"activation": "gelu", "norm_eps": 1e-6}
_ACTIVATIONS = (None, "gelu", "gelu_tanh", "quick_gelu")


def trunk_fields(name: str, **options: Any) -> dict[str, Any]:
    """Fields of a UniFormerV2 config for a timm model: its size, and what its pretraining changed.

    ``trunk_fields("beit_base_patch16_224")["trunk"]["position"]`` is ``"relative"``.

    Args:
        options: arguments that timm makes the model with, other than its own.

    Raises:
        CheckpointError: timm has no such model, or it is no plain ViT with a class token.
    """
    if not timm.is_model(name):
        raise CheckpointError(f"timm has no model '{name}'{nearest(name, timm.list_models())}")
    with torch.device("meta"):
        network = timm.create_model(name, **options)
    facts = facts_of_timm(network)
    fields = fields_of_trunk(ImageModel(tensors=network.state_dict(), name=f"timm's {name}", facts=facts))
    return {**fields, "image_size": facts.image_size}


def fields_of_trunk(image: ImageModel) -> dict[str, Any]:
    """Fields of a UniFormerV2 config that the trunk has: sizes as far as they are known, and ``trunk``.

    Raises:
        UnsuitedImageError: the network is no plain ViT with a class token.
    """
    tensors, facts = image.tensors, image.facts
    kernel = tensors.get("patch_embed.proj.weight")
    if (part := newer_part(image)) is not None:
        raise UnsuitedImageError(f"{image.name} has {part}, which the trunk has no place for")
    if "pos_embed" in tensors and "blocks.0.attn.qkv.weight" in tensors and "cls_token" not in tensors:
        raise UnsuitedImageError(f"{image.name} is no ViT with a class token, which the trunk must be")
    if kernel is None or kernel.ndim != 4 or not {"cls_token", "blocks.0.attn.qkv.weight"} <= tensors.keys():
        raise UnsuitedImageError(
            f"{image.name} is no ViT with a class token, which the trunk must be: expected names of timm "
            f"(patch_embed.proj.weight, cls_token) or of CLIP (visual.conv1.weight), found {', '.join(tensors)[:80]}"
        )
    if facts.activation not in _ACTIVATIONS:
        raise UnsuitedImageError(f"{image.name} has the activation {facts.activation}; expected GELU or QuickGELU")
    pre_norm = "norm_pre.weight" in tensors
    _check_positions(image, pre_norm)
    stated = {name: getattr(facts, name) for name in OF_CLIP if getattr(facts, name) is not None}
    fields = {
        "patch_size": kernel.shape[-1],
        "embed_dim": len(kernel),
        "depth": len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        "trunk": {
            **(OF_CLIP if pre_norm else _OF_OTHERS),
            **stated,
            "pre_norm": pre_norm,
            "patch_bias": "patch_embed.proj.bias" in tensors,
            # The weights bring their own values.
            "layer_scale": 1e-5 if {"blocks.0.ls1.gamma", "blocks.0.gamma_1"} & tensors.keys() else None,
            "position": _position(image),
        },
    }
    return fields if facts.num_heads is None else fields | {"num_heads": facts.num_heads}


def _check_positions(image: ImageModel, pre_norm: bool) -> None:
    """Refuse a file alone where it may be of a ViT with rotary positions, which would be lost without a sign."""
    tensors = image.tensors
    if not {"pos_embed", "blocks.0.attn.relative_position_bias_table"} & tensors.keys():
        raise UnsuitedImageError(
            f"{image.name} has neither a table of positions nor relative ones, so that its positions may be rotary, "
            "which the trunk has no place for"
        )
    as_clip = {"norm.weight", "fc_norm.weight"} & tensors.keys() and "attn_pool.latent" not in tensors
    if pre_norm and image.architecture is None and not as_clip:
        raise UnsuitedImageError(
            f"{image.name} has the names of a Perception Encoder, whose positions are rotary, which the trunk has no "
            "place for; of another model give timm's name or folder, which says so"
        )


def _position(image: ImageModel) -> str:
    if "pos_embed" not in image.tensors:
        return "relative"
    rows, grid = image.tensors["pos_embed"].shape[-2], image.facts.grid
    patches = grid[0] * grid[1] if grid else math.isqrt(rows) ** 2
    return "patches" if rows == patches else "class_and_patches"
