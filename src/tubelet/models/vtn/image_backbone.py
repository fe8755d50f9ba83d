"""Any image network of timm as a backbone: which of its arguments say the image size, and how wide its vectors are.

timm's networks agree on neither: a ViT and a Swin take ``img_size``, a ResNet does not, and MobileNetV3's vectors are
wider than its ``num_features``. So a copy without values (device "meta") is asked, with one image through it.

    B  images   C  channels   H, W  pixels   D  width of the vectors
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tubelet.errors import ConfigError, nearest
from tubelet.nn.attention_steps import AttentionStep, space_step
from tubelet.types import Grid


def make_backbone(
    name: str, in_channels: int, image_size: tuple[int, int], fields: Mapping[str, Any]
) -> tuple[nn.Module, int]:
    """The network without its classifier, which maps images ``[B, C, H, W]`` to vectors ``[B, D]``, and D.

    Args:
        name: any model of ``timm.list_models()``.
        image_size: height and width that it is made for, where it is made for a size; vision transformers that can
            then take other sizes too.
        fields: arguments of the network other than timm's own; they go before those of the size.

    Raises:
        ConfigError: timm has no such network, or it does not take these arguments or images of this size.
    """
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise ConfigError(f"timm has no backbone '{name}'{hint if 'did you mean' in hint else ''}")
    try:
        probe = _without_values(name, in_channels, fields)
        arguments = {**size_fields(probe, image_size), **fields}
        probe = _without_values(name, in_channels, arguments)
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"timm's {name} does not take backbone_fields {dict(fields)}: {_words(error)}") from None
    width = _width(probe, name, in_channels, image_size)
    return timm.create_model(name, num_classes=0, in_chans=in_channels, **arguments), width


def size_fields(network: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
    """Those of timm's arguments about the image size that the class of ``network``, or one it is made of, has."""
    known = {"img_size": image_size, "dynamic_img_size": True}
    # A distilled network hands everything on to the class of the plain one.
    makers = [vars(part)["__init__"] for part in type(network).__mro__ if "__init__" in vars(part)]
    taken = {field for make in makers for field in inspect.signature(make).parameters}
    return {field: value for field, value in known.items() if field in taken}


def patch_grid(network: nn.Module, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Patches (h, w) of an image, where the network is a ViT whose tokens stay on their grid."""
    if not isinstance(network, VisionTransformer | Eva | Beit):
        return None
    height, width = network.patch_embed.patch_size
    return image_size[0] // height, image_size[1] // width


def backbone_step(network: nn.Module, module: str, grid: Grid) -> AttentionStep:
    """What an attention module of the network looks at in every frame; ``module`` is its name inside the network."""
    if not module.startswith("blocks."):
        return AttentionStep(kind="pool" if "pool" in module else "space")
    if not isinstance(network, VisionTransformer | Eva | Beit):
        return AttentionStep(kind="space")
    return space_step(grid, network.num_prefix_tokens)


def _without_values(name: str, in_channels: int, arguments: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, in_chans=in_channels, **arguments).eval()


def _width(probe: Any, name: str, in_channels: int, image_size: tuple[int, int]) -> int:
    """D, as one image through the network says."""
    size = "{}x{}".format(*image_size)
    own = "x".join(map(str, probe.pretrained_cfg.get("input_size", ())[1:])) or "no size that timm knows"
    try:
        with torch.inference_mode():
            vectors = probe(torch.empty(1, in_channels, *image_size, device="meta"))  # 1 D
    except Exception as error:  # every network has its own way to say so
        raise ConfigError(
            f"timm's {name} does not take frames of {size} pixels{_words(error, '; it says: ')}; it is made for {own}: "
            "choose that size, or another backbone"
        ) from None
    if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2:
        shape = tuple(vectors.shape) if isinstance(vectors, torch.Tensor) else type(vectors).__name__
        raise ConfigError(f"timm's {name} gives {shape} for an image where a backbone gives one vector; choose another")
    return int(vectors.shape[-1])


def _words(error: Exception, before: str = "") -> str:
    """What the network says, on one line; nothing where it says nothing."""
    said = " ".join(str(error).split())
    return f"{before}{said}" if said else ""
