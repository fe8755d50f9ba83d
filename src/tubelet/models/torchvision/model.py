"""torchvision's video networks behind tubelet's interface, to compare with: ``torchvision/r3d_18`` and its relatives.

The networks are torchvision's own (``torchvision.models.video``), layers and initial values included. What is added:
another number of channels, and a refusal of clips that a network cannot take, or would take and compute wrongly.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import video

from tubelet.models.torchvision.config import TorchvisionConfig, check_clip
from tubelet.nn.tokenizer import check_channels


@dataclass(frozen=True, kw_only=True)
class _Network:
    """What a network is made from, and where its first and last layer stand."""

    make: Callable[..., nn.Module]
    stem: str  # name of its first convolution, which fixes the number of channels
    head: str  # name of its classifier
    layers: str = r"(?:layer\d+|blocks)\.\d+\."  # regular expression: how the names of a block's parameters begin


_S3D_LAYERS = r"features\.\d+\."
_SWIN_LAYERS = r"features\.\d+\.(?:\d+\.)?"  # a block of a stage, or what merges patches between two stages

NETWORKS: dict[str, _Network] = {
    "r3d_18": _Network(make=video.r3d_18, stem="stem.0", head="fc"),
    "mc3_18": _Network(make=video.mc3_18, stem="stem.0", head="fc"),
    "r2plus1d_18": _Network(make=video.r2plus1d_18, stem="stem.0", head="fc"),
    "s3d": _Network(make=video.s3d, stem="features.0.0.0", head="classifier", layers=_S3D_LAYERS),
    "mvit_v1_b": _Network(make=video.mvit_v1_b, stem="conv_proj", head="head"),
    "mvit_v2_s": _Network(make=video.mvit_v2_s, stem="conv_proj", head="head"),
    **{
        name: _Network(make=make, stem="patch_embed.proj", head="head", layers=_SWIN_LAYERS)
        for name, make in (("swin3d_t", video.swin3d_t), ("swin3d_s", video.swin3d_s), ("swin3d_b", video.swin3d_b))
    },
}


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
