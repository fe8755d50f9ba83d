"""An image ViT with nothing but patches, positions, standard blocks and a norm, for families that take it apart.

What timm's ViTs have beside these is folded into them where that changes nothing (layer scales, a position table
without a row for the class token), and refused by name where it does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.weights.mapping.digest import tensors_sha256
from tubelet.weights.mapping.image_model import ImageModel, UnsuitedImageError, newer_part

HEAD_DIM = 64  # channels of a head in every published ViT of the sizes Ti to L
_BLOCK = r"blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)"
_KNOWN = re.compile(rf"cls_token|pos_embed|(patch_embed\.proj|norm|pre_logits\.fc|head)\.(weight|bias)|{_BLOCK}")
_DROPPED = {r"fc_norm\..*|attn_pool\..*": "pooling of the image model", r"head_drop\..*": "no weights"}
_SCALES = {"attn.proj": "ls1", "mlp.fc2": "ls2"}
_TIMM_DEFAULTS = {"activation": "gelu", "norm_eps": 1e-6}


@dataclass(frozen=True, kw_only=True)
class PlainViT(ImageModel):
    """A plain image ViT in float32, with activation, epsilon, grid and size known; its heads may not be."""

    @property
    def sha256(self) -> str:
        """Over the names that these weights had in tubelet's first records, which LoRA checkpoints refer to."""
        return tensors_sha256(_names_of_records(self.tensors))

    @property
    def grid(self) -> tuple[int, int]:
        assert self.facts.grid is not None
        return self.facts.grid

    @property
    def has_class_token(self) -> bool:
        return "cls_token" in self.tensors

    @property
    def representation_size(self) -> int | None:
        """Width of a layer before the classifier."""
        kernel = self.tensors.get("pre_logits.fc.weight")
        return None if kernel is None else len(kernel)

    @property
    def in_channels(self) -> int:
        return self.tensors["patch_embed.proj.weight"].shape[1]

    @property
    def patch_size(self) -> tuple[int, int]:
        _, _, height, width = self.tensors["patch_embed.proj.weight"].shape
        return height, width

    @property
    def sizes(self) -> dict[str, Any]:
        """Width, blocks, hidden width of the MLP over the width, and heads where they are known."""
        width = len(self.tensors["patch_embed.proj.weight"])
        depth = 1 + max(int(m[1]) for name in self.tensors if (m := re.match(r"blocks\.(\d+)\.", name)))
        sizes = {"embed_dim": width, "depth": depth, "mlp_ratio": len(self.tensors["blocks.0.mlp.fc1.weight"]) / width}
        return sizes if self.facts.num_heads is None else {**sizes, "num_heads": self.facts.num_heads}

    @property
    def function_fields(self) -> dict[str, Any]:
        """Fields of a config that decide which function these weights compute (``FUNCTION_FIELDS``)."""
        bias = "blocks.0.attn.qkv.bias" in self.tensors
        return {"activation": self.facts.activation, "norm_eps": self.facts.norm_eps, "qkv_bias": bias}


def plain_vit(image: ImageModel, family: str) -> PlainViT:
    """The plain ViT that an image model is.

    Args:
        family: what messages call the video model that takes it apart.

    Raises:
        UnsuitedImageError: another kind of image model.
        CheckpointError: a ViT with a part that has no place, or whose grid is not known.
    """
    _check_kind(image, family)
    tensors, notes, dropped = dict(image.tensors), list(image.notes), dict(image.dropped)
    if "norm.weight" not in tensors and "fc_norm.weight" in tensors:
        tensors |= {f"norm.{kind}": tensors.pop(f"fc_norm.{kind}") for kind in ("weight", "bias")}
        notes.append(f"its norm stands behind the mean over tokens, in a {family} before it")
    tensors = _scaled(tensors)
    grid = _grid(image, tensors)
    for name in list(tensors):
        if why := next((why for pattern, why in _DROPPED.items() if re.fullmatch(pattern, name)), None):
            dropped[name] = why
            del tensors[name]
        elif not _KNOWN.fullmatch(name):
            raise CheckpointError(
                f"{image.name}: weights do not fit a {family}: {name} {tuple(tensors[name].shape)} is not used"
            )
    if "cls_token" in tensors and tensors["pos_embed"].shape[-2] == grid[0] * grid[1]:
        tensors["pos_embed"] = F.pad(tensors["pos_embed"], (0, 0, 1, 0))  # no row for the class token is a row of zeros
    known: dict[str, Any] = {n: value for n, value in _TIMM_DEFAULTS.items() if getattr(image.facts, n) is None}
    if known:
        listed = ", ".join(f"{key}={value}" for key, value in known.items())
        notes.insert(0, f"{listed} taken for granted: timm's default, not in the weights")
    formats = sorted({str(t.dtype) for t in tensors.values()})
    if len(formats) > 1:
        raise CheckpointError(f"{image.name}: holds {' and '.join(formats)} side by side; expected one number format")
    notes += [f"{other} converted to torch.float32" for other in formats if other != "torch.float32"]
    patch = tensors["patch_embed.proj.weight"].shape[-2:]
    size = (grid[0] * patch[0], grid[1] * patch[1])
    facts = replace(image.facts, **known, grid=grid, image_size=size)
    plain = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    return PlainViT(**{**vars(image), "tensors": plain, "facts": facts, "notes": tuple(notes), "dropped": dropped})


def _check_kind(image: ImageModel, family: str) -> None:
    tensors, facts = image.tensors, image.facts
    part = newer_part(image)
    if part is None and "norm_pre.weight" in tensors:
        part = "a norm before its blocks (norm_pre.weight)"
    if part is not None:
        raise UnsuitedImageError(f"{image.name}: this image model has {part}, which a {family} has no place for")
    if not {"patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight"} <= tensors.keys():
        raise UnsuitedImageError(
            f"{image.name}: no image ViT: expected the names of timm (patch_embed.proj.weight, pos_embed), of "
            "HuggingFace (embeddings.patch_embeddings.projection.weight) or of flax (embedding/kernel), found "
            f"{', '.join(list(tensors)[:3])}"
        )
    if image.architecture is not None and facts.num_heads is None:
        raise UnsuitedImageError(f"{image.name}: timm's {image.architecture} is no plain ViT")
    if facts.activation not in (None, "gelu", "gelu_tanh"):
        raise UnsuitedImageError(f"{image.name}: its activation is {facts.activation}, a {family} has GELU")


def _scaled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layer scales multiplied into the rows of the linear layers that they stand behind."""
    scaled = dict(tensors)
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(blocks\.\d+\.)(attn\.proj|mlp\.fc2)\.(?:weight|bias)", name)
        gamma = None if match is None else tensors.get(f"{match[1]}{_SCALES[match[2]]}.gamma")
        if gamma is not None:
            scaled[name] = tensor * gamma.view(-1, *[1] * (tensor.ndim - 1))
    return {name: tensor for name, tensor in scaled.items() if not re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", name)}


def _grid(image: ImageModel, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    given, rows, has_class = image.facts.grid, tensors["pos_embed"].shape[-2], "cls_token" in tensors
    patches = math.isqrt(rows) ** 2 if given is None else given[0] * given[1]
    places = rows - int(has_class and rows != patches)
    grid = given or (math.isqrt(places), math.isqrt(places))
    if grid[0] * grid[1] != places:
        raise CheckpointError(
            f"{image.name}: the position table has {places} rows for patches, which is not a grid of "
            f"{grid[0]}x{grid[1]}; give init.image_grid (h, w)"
        )
    return grid


def _names_of_records(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of a ViT in tubelet's first records: an encoder, behind a tokenizer, before a head."""
    named = {}
    for name, tensor in tensors.items():
        if name.startswith("patch_embed."):
            named[name.replace("patch_embed.", "tokenizer.")] = tensor
        elif name.startswith(("head.", "pre_logits.")):
            named[name.replace("pre_logits.fc.", "pre_logits.0.")] = tensor
        elif name == "cls_token":
            named["encoder.cls_token"] = tensor.flatten()
        elif name == "pos_embed":
            named["encoder.pos_embed.table"] = tensor[0] if tensor.ndim == 3 else tensor
        else:
            named[f"encoder.{name}"] = tensor
    return named
