"""An image model in the one form that every family starts from: timm's names, and facts that no tensor holds.

Whatever wrote the weights, they are brought to this form first (``weights/init/canonical.py``), and a family has one
list of rules from timm's names to its own tensors (``models/<family>/from_image.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.weights.mapping.digest import tensors_sha256

# Config fields that decide which function a model's weights compute, so that they come along with the weights.
FUNCTION_FIELDS = ("activation", "norm_eps", "qkv_bias")
# Parts of newer image ViTs that change what its blocks compute, by a tensor that shows them.
_NEWER_PARTS = {
    "reg_token": "register tokens",
    "blocks.0.mlp.fc1_g.weight": "gated MLPs",
    "blocks.0.mlp.norm.weight": "norms inside its MLPs",
    "blocks.0.attn.q_norm.weight": "norms of queries and keys",
    "blocks.0.attn.norm.weight": "norms inside its attention",
    "dist_token": "a distillation token",
}


class UnsuitedImageError(CheckpointError):
    """A family has no place for this kind of image model; another family may have."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What tensors do not say of how an image model computes; None means not known."""

    num_heads: int | None = None
    activation: str | None = None  # "gelu", "gelu_tanh", "quick_gelu", or the class name of another one
    norm_eps: float | None = None
    grid: tuple[int, int] | None = None  # patches (h, w) of the position table
    image_size: tuple[int, int] | None = None  # height and width in pixels that it was trained on
    mean: tuple[float, ...] | None = None  # pixels that it was trained on: (x / 255 - mean) / std
    std: tuple[float, ...] | None = None
    rotary: bool = False  # positions turn queries and keys, which no tensor shows; False where nothing says so


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """Weights of an image model under timm's names and in timm's shapes, with what is known of it."""

    tensors: Mapping[str, Tensor]
    name: str  # where it came from, as messages and records say it
    facts: ImageFacts = field(default_factory=ImageFacts)
    architecture: str | None = None  # timm's name of the network; None means that nothing but its weights is known
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments that it was made with, other than timm's own
    source_tensors: Mapping[str, Tensor] | None = None  # under the source's own names, where timm's are others
    labels: tuple[str, ...] | None = None  # class names of its head, where they are known
    license: str | None = None  # of the weights, which binds what is made from them; None means not stated
    provenance: Mapping[str, Any] = field(default_factory=dict)  # of a checkpoint, as its record holds it
    dropped: Mapping[str, str] = field(default_factory=dict)  # tensors of the source that timm has no place for -> why
    notes: tuple[str, ...] = ()  # what was taken for granted

    @property
    def sha256(self) -> str:
        """The digest that records keep, over the tensors as the source names them."""
        return tensors_sha256(self.tensors if self.source_tensors is None else self.source_tensors)

    def made(self) -> Any:
        """timm's own construction of the network, without values.

        Raises:
            CheckpointError: timm does not know the network, or not these arguments.
        """
        if self.architecture is None or not timm.is_model(self.architecture):
            raise CheckpointError(f"{self.name}: timm has no model '{self.architecture}'")
        try:
            with torch.device("meta"):
                return timm.create_model(self.architecture, **self.options)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{self.name}: timm cannot make {self.architecture} ({reason})") from None


def facts_of_timm(network: Any) -> ImageFacts:
    """What timm's construction of a network says; a network that is no ViT has no heads, activation and epsilon."""
    facts: dict[str, Any] = {}
    try:
        block = network.blocks[0]
        heads, eps = block.attn.num_heads, block.norm1.eps
        facts |= {"num_heads": heads, "norm_eps": eps, "activation": _activation(block.mlp.act)}
    except (AttributeError, IndexError, TypeError):
        pass
    patches = getattr(network, "patch_embed", None)
    for fact, attribute in (("grid", "grid_size"), ("image_size", "img_size")):
        if (size := getattr(patches, attribute, None)) is not None:
            facts[fact] = tuple(size)
    return ImageFacts(**facts, rotary=getattr(network, "rope", None) is not None)


def newer_part(image: ImageModel) -> str | None:
    """The first part of an image ViT that plain blocks have no place for, or None: rotary positions, register tokens,
    gated MLPs, further norms, a distillation token."""
    if image.facts.rotary:
        return "rotary positions"
    found = next((name for name in _NEWER_PARTS if name in image.tensors), None)
    return None if found is None else f"{_NEWER_PARTS[found]} ({found.removesuffix('.weight')})"


def _activation(act: Any) -> str:
    kind = type(act).__name__
    if kind == "GELU":
        return "gelu_tanh" if getattr(act, "approximate", "none") == "tanh" else "gelu"
    return {"GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}.get(kind, kind)


def grid_of_table(rows: int, prefix: int, own: tuple[int, int], given: tuple[int, int] | None) -> tuple[int, int]:
    """The grid of a position table of ``rows`` rows, ``prefix`` of them no patch: as given, the model's own, a square.

    Raises:
        CheckpointError: it is none of these.
    """
    patches = rows - prefix
    grid = given or (own if patches == own[0] * own[1] else (math.isqrt(max(patches, 0)),) * 2)
    if grid[0] * grid[1] != patches:
        wants = f"{prefix} for tokens without a place and " if prefix else ""
        raise CheckpointError(
            f"the position table has {rows} rows; expected {wants}those of a grid of {grid[0]}x{grid[1]}: give "
            "init.image_grid (h, w)"
        )
    return grid
