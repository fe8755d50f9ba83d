"""What torchvision's video networks compute before their classifier, which their own ``forward`` does not give.

Each function follows the ``forward`` of its class in ``torchvision.models.video`` (0.26 to 0.29) layer by layer.

    B  videos   C  channels   T, H, W  clip in frames and pixels   n_t, n_h, n_w  grid of the last layer   D  its width
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from tubelet.types import Grid

# The network is Any, because torchvision's classes are no types to a checker.


def resnet_features(network: Any, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B n_t n_h n_w D"], Grid]:
    """``VideoResNet``: r3d_18, mc3_18 and r2plus1d_18."""
    x = network.stem(clip)
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)  # B D n_t n_h n_w
    return _channels_last(x)


def s3d_features(network: Any, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B n_t n_h n_w D"], Grid]:
    """``S3D``."""
    return _channels_last(network.features(clip))


def swin_features(network: Any, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B n_t n_h n_w D"], Grid]:
    """``SwinTransformer3d``."""
    x = network.norm(network.features(network.pos_drop(network.patch_embed(clip))))  # B n_t n_h n_w D
    n_t, n_h, n_w = x.shape[1:4]
    return x, (n_t, n_h, n_w)


def mvit_features(network: Any, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
    """``MViT``: all tokens, the class token first."""
    x = network.conv_proj(clip).flatten(2).transpose(1, 2)  # B N D
    x = network.pos_encoding(x)  # B 1+N D
    grid = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)
    for block in network.blocks:
        x, grid = block(x, grid)  # fewer tokens at each stage
    return network.norm(x), grid


def pool_grid(network: Any, x: Float[Tensor, "B n_t n_h n_w D"]) -> Float[Tensor, "B D"]:
    """The mean over the grid."""
    return x.mean((1, 2, 3))


def pool_s3d(network: Any, x: Float[Tensor, "B n_t n_h n_w D"]) -> Float[Tensor, "B D"]:
    """The mean of overlapping means; its classifier, a 1x1x1 convolution between the two, may follow both."""
    return network.avgpool(x.permute(0, 4, 1, 2, 3)).mean((2, 3, 4))


def pool_class_token(network: Any, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
    """The first token."""
    return x[:, 0]


def _channels_last(x: Float[Tensor, "B D n_t n_h n_w"]) -> tuple[Float[Tensor, "B n_t n_h n_w D"], Grid]:
    x = x.permute(0, 2, 3, 4, 1)
    n_t, n_h, n_w = x.shape[1:4]
    return x, (n_t, n_h, n_w)
