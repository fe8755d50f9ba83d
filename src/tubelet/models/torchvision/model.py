"""torchvision's video networks behind tubelet's interface, to compare with: ``torchvision/r3d_18`` and its relatives.

The networks are torchvision's own (``torchvision.models.video``), layers and initial values included. What is added:
another number of channels, and a refusal of clips that a network cannot take, or would take and compute wrongly.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import video

from tubelet.errors import ConfigError, TubeletError
from tubelet.nn.tokenizer import check_channels

Name = Literal["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"]


@dataclass(frozen=True, kw_only=True)
class _Network:
    """What a network is made from, where its first and last layer stand, and which clips it takes."""

    make: Callable[..., nn.Module]
    stem: str  # name of its first convolution, which fixes the number of channels
    head: str  # name of its classifier
    layers: str = r"(?:layer\d+|blocks)\.\d+\."  # regular expression: how the names of a block's parameters begin
    smallest: tuple[int, int, int] = (1, 1, 1)  # frames, height, width that leave something to its last pooling
    only: tuple[int, int, int] | None = None  # frames, height, width, where it takes no other
    windows: bool = False  # attention in windows of 7 x 7, with a position table for that size


# Halved to the 2 x 7 x 7 of its last pooling: four times over space, three over time, rounding up.
_S3D = (13, 209, 209)
_MVIT = (16, 224, 224)
_S3D_LAYERS = r"features\.\d+\."
_SWIN_LAYERS = r"features\.\d+\.(?:\d+\.)?"  # a block of a stage, or what merges patches between two stages

NETWORKS: dict[str, _Network] = {
    "r3d_18": _Network(make=video.r3d_18, stem="stem.0", head="fc"),
    "mc3_18": _Network(make=video.mc3_18, stem="stem.0", head="fc"),
    "r2plus1d_18": _Network(make=video.r2plus1d_18, stem="stem.0", head="fc"),
    "s3d": _Network(make=video.s3d, stem="features.0.0.0", head="classifier", layers=_S3D_LAYERS, smallest=_S3D),
    "mvit_v1_b": _Network(make=video.mvit_v1_b, stem="conv_proj", head="head", only=_MVIT),
    "mvit_v2_s": _Network(make=video.mvit_v2_s, stem="conv_proj", head="head", only=_MVIT),
    **{
        name: _Network(make=make, stem="patch_embed.proj", head="head", layers=_SWIN_LAYERS, windows=True)
        for name, make in (("swin3d_t", video.swin3d_t), ("swin3d_s", video.swin3d_s), ("swin3d_b", video.swin3d_b))
    },
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig:
    """The defaults are r3d_18 as torchvision trained it; every name of a model brings its own clip."""

    network: Name = "r3d_18"  # which of torchvision's video networks
    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 16  # frames of the clip it is made for
    image_size: tuple[int, int] = (112, 112)  # height and width in pixels of the clip it is made for

    def __post_init__(self) -> None:
        for name in ("num_classes", "in_channels", "num_frames"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        try:
            check_clip(self, (self.num_frames, *self.image_size))
        except TubeletError as error:
            raise ConfigError(f"num_frames and image_size: {error}") from None


class TorchvisionVideo(nn.Module):
    """A network of torchvision with fresh weights; its parameters keep torchvision's names behind ``network.``."""

    def __init__(self, config: TorchvisionConfig) -> None:
        super().__init__()
        self.config = config
        known = NETWORKS[config.network]
        self.head_name, self.layer_pattern = f"network.{known.head}", rf"network\.{known.layers}"  # see nn/head.py
        self.network: nn.Module = known.make(weights=None, num_classes=config.num_classes)
        if config.in_channels != 3:
            parent, _, last = known.stem.rpartition(".")
            stem = self.network.get_submodule(known.stem)
            setattr(self.network.get_submodule(parent), last, with_channels(stem, config.in_channels))

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        """Raises TubeletError for a clip that the network cannot take."""
        check_channels(clip, self.config.in_channels)
        _, _, num_frames, height, width = clip.shape
        check_clip(self.config, (num_frames, height, width))
        logits: Tensor = self.network(clip)
        return logits


def with_channels(stem: nn.Module, in_channels: int) -> nn.Conv3d:
    """A fresh convolution like ``stem`` for another number of channels, its values as spread as those of ``stem``."""
    assert isinstance(stem, nn.Conv3d)
    fresh = nn.Conv3d(
        in_channels,
        stem.out_channels,
        kernel_size=stem.kernel_size,  # type: ignore[arg-type]
        stride=stem.stride,  # type: ignore[arg-type]
        padding=stem.padding,  # type: ignore[arg-type]
        bias=stem.bias is not None,
    )
    if not stem.weight.is_meta:
        with torch.no_grad():
            fresh.weight.normal_(std=float(stem.weight.std()) * (stem.in_channels / in_channels) ** 0.5)
    return fresh


def check_clip(config: TorchvisionConfig, size: tuple[int, int, int]) -> None:
    """Refuse a clip of ``size`` (frames, height, width) that the network cannot take or would compute wrongly.

    Raises:
        TubeletError: with what it takes.
    """
    known, given = NETWORKS[config.network], "x".join(map(str, size))
    if known.only is not None and size != known.only:
        raise TubeletError(
            f"torchvision's {config.network} takes clips of {'x'.join(map(str, known.only))} (frames x height x width) "
            f"alone, its position tables have that size; got {given}"
        )
    if any(a < b for a, b in zip(size, known.smallest, strict=True)):
        raise TubeletError(
            f"torchvision's {config.network} takes clips of {'x'.join(map(str, known.smallest))} (frames x height x "
            f"width) or more, a smaller one is used up before its last pooling; got {given}"
        )
    if known.windows and window_sizes(size[1:]) != window_sizes(config.image_size):
        made_for = "x".join(map(str, config.image_size))
        raise TubeletError(
            f"torchvision's {config.network} made for {made_for} pixels would read its position tables at wrong places "
            f"for {size[1]}x{size[2]}, where its attention windows have other sizes; make the model for this size"
        )


def window_sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of Swin's attention windows in each of its four stages.

    Windows are 7 x 7 and no larger than the grid, which is a quarter of the image and halves from stage to stage,
    rounding up. torchvision takes the first rows of a table made for 7 x 7 when a window is smaller: as good as any
    where the model is trained so, and scrambled where weights come from another size. Fewer frames do no harm, since
    frames come first in the table's order.
    """
    sizes = []
    for stage in range(4):
        side = 4 * 2**stage
        sizes.append((min(7, -(-image_size[0] // side)), min(7, -(-image_size[1] // side))))
    return sizes
