"""torchvision's video networks behind tubelet's interface, to compare with: ``torchvision/r3d_18`` and its relatives.

The networks are torchvision's own (``torchvision.models.video``), layers and initial values included. What is added:
another number of channels, and a refusal of clips that a network cannot take, or would take and compute wrongly.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import video

from tubelet.models.torchvision.config import TorchvisionConfig, check_clip
from tubelet.models.torchvision.features import (
    mvit_features,
    pool_class_token,
    pool_grid,
    pool_s3d,
    resnet_features,
    s3d_features,
    swin_features,
)
from tubelet.nn.tokenizer import check_channels
from tubelet.nn.video_model import VideoModel, on_grid
from tubelet.types import Grid

Features = Callable[[Any, Tensor], tuple[Tensor, Grid]]
Pool = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Network:
    """What a network is made from, where its first and last layer stand, and what it computes before its classifier."""

    make: Callable[..., nn.Module]
    stem: str  # name of its first convolution, which fixes the number of channels
    head: str  # name of its classifier
    features: Features
    pool: Pool = pool_grid
    layers: str = r"(?:layer\d+|blocks)\.\d+\."  # regular expression: how the names of a block's parameters begin


_RESNET: dict[str, Any] = {"stem": "stem.0", "head": "fc", "features": resnet_features}
_S3D: dict[str, Any] = {"head": "classifier", "features": s3d_features, "pool": pool_s3d, "layers": r"features\.\d+\."}
_MVIT: dict[str, Any] = {"stem": "conv_proj", "head": "head", "features": mvit_features, "pool": pool_class_token}
_SWIN_LAYERS = r"features\.\d+\.(?:\d+\.)?"  # a block of a stage, or what merges patches between two stages
_SWIN: dict[str, Any] = {
    "stem": "patch_embed.proj",
    "head": "head",
    "features": swin_features,
    "layers": _SWIN_LAYERS,
}

NETWORKS: dict[str, _Network] = {
    "r3d_18": _Network(make=video.r3d_18, **_RESNET),
    "mc3_18": _Network(make=video.mc3_18, **_RESNET),
    "r2plus1d_18": _Network(make=video.r2plus1d_18, **_RESNET),
    "s3d": _Network(make=video.s3d, stem="features.0.0.0", **_S3D),
    "mvit_v1_b": _Network(make=video.mvit_v1_b, **_MVIT),
    "mvit_v2_s": _Network(make=video.mvit_v2_s, **_MVIT),
    "swin3d_t": _Network(make=video.swin3d_t, **_SWIN),
    "swin3d_s": _Network(make=video.swin3d_s, **_SWIN),
    "swin3d_b": _Network(make=video.swin3d_b, **_SWIN),
}


class TorchvisionVideo(VideoModel):
    """A network of torchvision with fresh weights; its parameters keep torchvision's names behind ``network.``."""

    def __init__(self, config: TorchvisionConfig) -> None:
        super().__init__()
        self.config = config
        known = NETWORKS[config.network]
        self.head_name, self.layer_pattern = f"network.{known.head}", rf"network\.{known.layers}"  # see nn/head.py
        self.network: nn.Module = known.make(weights=None, num_classes=config.num_classes or 1)
        self.num_features = width_of(self.get_classifier())
        if not config.num_classes:
            self.set_submodule(self.head_name, nn.Identity())
        if config.in_channels != 3:
            parent, _, last = known.stem.rpartition(".")
            stem = self.network.get_submodule(known.stem)
            setattr(self.network.get_submodule(parent), last, with_channels(stem, config.in_channels))

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        """Raises TubeletError for a clip that the network cannot take."""
        self._check(clip)
        logits: Tensor = self.network(clip)
        return logits

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B *N D"]:
        """The last layer on its grid ``[B, n_t, n_h, n_w, D]``; of MViT, tokens with the class token first."""
        self._check(clip)
        return NETWORKS[self.config.network].features(self.network, clip)[0]

    def forward_head(self, x: Float[Tensor, "B *N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = NETWORKS[self.config.network].pool(self.network, x)  # B D
        if pre_logits:
            return x
        if self.config.network == "s3d":
            x = x[..., None, None, None]  # B D 1 1 1, as its convolution takes it
        logits: Tensor = self.get_classifier()(x).flatten(1)
        return logits  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        self._check(clip)
        x, grid = NETWORKS[self.config.network].features(self.network, clip)
        return x if x.ndim == 5 else on_grid(x, grid)

    def make_head(self, num_classes: int) -> nn.Module:
        if not num_classes:
            return nn.Identity()
        classifier = NETWORKS[self.config.network].head
        fresh: nn.Module = NETWORKS[self.config.network].make(weights=None, num_classes=num_classes)
        return fresh.get_submodule(classifier)

    def _check(self, clip: Tensor) -> None:
        check_channels(clip, self.config.in_channels)
        _, _, num_frames, height, width = clip.shape
        check_clip(self.config, (num_frames, height, width))


def width_of(head: nn.Module) -> int:
    """The width that a classifier takes: of its last linear layer or 1x1x1 convolution."""
    last = [module for module in head.modules() if isinstance(module, nn.Linear | nn.Conv3d)][-1]
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


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
