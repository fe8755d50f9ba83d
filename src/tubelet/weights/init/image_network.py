"""An image network under its own library's names, for video models that hold one whole: VTN and UniFormerV2.

ViViT and TimeSformer take an image ViT apart and know it by tubelet's names instead (``weights/image_vit.py``).

Source: timm's ``vision_transformer.py`` (which released CLIP weights were trained with QuickGELU).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import timm
import torch
from torch import Tensor

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.vivit.init import COME_ALONG, InitConfig
from tubelet.weights.init.image_formats import image_vit
from tubelet.weights.init.image_vit import ImageViT, tensors_sha256

# Names that only HuggingFace's and flax's image ViTs have: they are put under timm's.
_OTHER_LIBRARIES = ("embeddings.patch_embeddings.projection.weight", "embedding/kernel")
# What every video model sets itself when it makes the network.
_NOT_ALONG = ("num_classes", "in_chans", "dynamic_img_size")


@dataclass(frozen=True, kw_only=True)
class ImageNetwork:
    """Weights of an image network, and what is known of how it computes with them."""

    tensors: Mapping[str, Tensor]  # under the names of timm, or of CLIP (OpenAI, open_clip)
    name: str  # where it came from, as messages and records say it
    architecture: str | None = None  # timm's name of the network; none: nothing but its weights is known
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments that it was made with, other than timm's own
    known: Mapping[str, Any] = field(default_factory=dict)  # activation, norm_eps, num_heads, known from elsewhere
    image_grid: tuple[int, int] | None = None  # patches (h, w) of its position table; none: a square
    image_size: tuple[int, int] | None = None  # height and width in pixels that it was trained on
    notes: tuple[str, ...] = ()  # what was taken for granted
    mean: tuple[float, ...] | None = None  # pixels it was trained on: (x / 255 - mean) / std
    std: tuple[float, ...] | None = None
    license: str | None = None  # of the weights, which binds what is made from them; none: not stated

    @property
    def sha256(self) -> str:
        return tensors_sha256(self.tensors)

    def made(self) -> Any:
        """timm's own construction of it, without values, to read what its pretraining changed.

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


def network_of_tensors(weights: Mapping[str, Tensor], name: str, init: InitConfig) -> ImageNetwork:
    """The network that a file of weights holds; ViTs of HuggingFace and flax under timm's names."""
    if any(key in n for n in weights for key in _OTHER_LIBRARIES):
        return network_of_vit(image_vit(weights, name, image_grid=init.image_grid))
    return ImageNetwork(tensors=weights, name=name, image_grid=init.image_grid)


def network_of_timm(
    weights: Mapping[str, Tensor], name: str, content: Mapping[str, Any], init: InitConfig
) -> ImageNetwork:
    """The network of a folder whose ``config.json`` (``content``) timm wrote, or that a name of timm led to.

    Raises:
        CheckpointError: timm does not know the network, or not its arguments.
    """
    pretrained = content.get("pretrained_cfg", {})
    options = {key: value for key, value in content.get("model_args", {}).items() if key not in _NOT_ALONG}
    of_name = name.partition(".")[0]
    architecture = of_name if timm.is_model(of_name) else content["architecture"]
    quick = _quick_gelu_of(architecture, pretrained.get("tag") or name.partition(".")[2])
    network = ImageNetwork(
        tensors=weights,
        name=name,
        architecture=quick or architecture,
        options=options,
        notes=(f"{architecture} with QuickGELU, which these weights were trained with: {quick}",) if quick else (),
        mean=_pixels(pretrained, "mean"),
        std=_pixels(pretrained, "std"),
    )
    patches: Any = getattr(network.made(), "patch_embed", None)
    size = getattr(patches, "img_size", None) or pretrained.get("input_size", (None, None, None))[1:]
    grid = init.image_grid or getattr(patches, "grid_size", None)
    return replace(network, image_grid=grid, image_size=None if None in size else tuple(size))


def _pixels(pretrained: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    return tuple(pretrained[name]) if name in pretrained else None


def _quick_gelu_of(architecture: str, tag: str) -> str | None:
    """timm has CLIPs that were trained with QuickGELU under two names, and one of them computes with GELU."""
    twin = architecture.replace("_clip_", "_clip_quickgelu_")
    if twin == architecture or "_quickgelu_" in architecture or not tag or not timm.is_model(twin):
        return None
    return twin if f"{twin}.{tag}" in timm.list_pretrained(f"{twin}.*") else None


def network_of_vit(image: ImageViT) -> ImageNetwork:
    """An image ViT that was read under tubelet's names, as a network of timm's names."""
    known = {name: getattr(image.config, name) for name in COME_ALONG}
    if not image.heads_unknown:
        known["num_heads"] = image.config.num_heads
    return ImageNetwork(
        tensors=timm_names(image),
        name=image.name,
        known=known,
        image_grid=image.grid,
        image_size=image.config.image_size,
        notes=image.notes,
        mean=image.mean,
        std=image.std,
        license=image.license,
    )


def timm_names(image: ImageViT) -> dict[str, Tensor]:
    """The tensors of an image ViT under timm's names and in timm's shapes."""
    named = {name.removeprefix("encoder."): tensor for name, tensor in image.tensors.items()}
    for kind in ("weight", "bias"):
        named[f"patch_embed.proj.{kind}"] = named.pop(f"tokenizer.proj.{kind}")
        if f"pre_logits.0.{kind}" in named:
            named[f"pre_logits.fc.{kind}"] = named.pop(f"pre_logits.0.{kind}")
    if "cls_token" in named:
        named["cls_token"] = named["cls_token"][None, None]
    named["pos_embed"] = named.pop("pos_embed.table")[None]
    return named


def refuse_options(init: InitConfig, what: str) -> None:
    """Options that say how an image ViT is taken apart mean nothing where it stays whole.

    Raises:
        ConfigError: the first such option.
    """
    plain = InitConfig(source=init.source)
    for name in ("tokenizer", "positions", "temporal_attention", "spatial_class_token"):
        if getattr(init, name) != getattr(plain, name):
            raise ConfigError(f"init.{name} is for ViViT; {what} takes an image network as it is: leave it out")
    if init.keep_head:
        raise ConfigError(f"init.keep_head: {what} has no place for an image network's classifier; leave it out")


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
