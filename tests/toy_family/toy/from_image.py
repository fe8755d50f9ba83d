"""A toy from an image ViT, from timm's names to its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from tubelet.models.toy.model import Toy

from tubelet.models.family_weights import refuse_options
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.image_model import ImageModel
from tubelet.weights.mapping.plain_vit import PlainViT, plain_vit
from tubelet.weights.mapping.rules import MappingReport, Rule, map_weights

_DROPPED = {
    r"cls_token|pos_embed": "a toy has no class token and no positions",
    r"(head|pre_logits\.fc)\..*": "classifier of the image model",
}


def prepare(image: ImageModel) -> PlainViT:
    return plain_vit(image, "Toy")


def fields(image: PlainViT, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in image.function_fields.items() if name == "norm_eps" and name not in given}


def from_image(image: PlainViT, model: Toy, init: InitConfig) -> tuple[dict[str, Tensor], MappingReport]:
    refuse_options(init, "Toy")
    names = {"patches": "patch_embed.proj", "norm": "norm"}
    for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        names[f"blocks.{{i}}.{part}"] = f"blocks.{{i}}.{part}"
    rules = [Rule(f"{a}.{kind}", (f"{b}.{kind}",)) for a, b in names.items() for kind in ("weight", "bias")]
    fresh = {r"head\..*": "classifier: made for the new classes"}
    return map_weights(image.tensors, model, rules, _DROPPED, fresh, image.notes)
