"""What ViViT's Models 1 and 2 see of a clip in masked pre-training, each in its own way.

Model 1 encodes the visible tokens together. Model 2 encodes the visible patches of each time index, and its temporal
encoder the vectors of the time indices; to each visible token the state of its time index is added, so that the decoder
reads both and both encoders learn.

    B  videos   n_t  time indices   V  visible tokens   v = V / n_t  of each time index   D  width
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.models.vivit.config import ViViTConfig
from tubelet.nn.block import Block
from tubelet.nn.masked.autoencoder import MaskedAutoencoder
from tubelet.types import Grid

if TYPE_CHECKING:
    from tubelet.models.vivit.model import ViViTFactorizedEncoder, ViViTJoint


class MaskedJoint(nn.Module):
    """Model 1 on visible tokens; a class token takes part and is left out of the result."""

    def __init__(self, model: ViViTJoint) -> None:
        super().__init__()
        self.tokenizer, self.encoder = model.tokenizer, model.encoder

    def forward(
        self, clip: Float[Tensor, "B C T H W"], visible: Int[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B V D"], Grid]:
        x, grid = self.tokenizer(clip)  # B N D
        x = self.encoder(x, grid, visible=visible)  # B V(+1) D
        return x[:, x.shape[1] - visible.shape[1] :], grid


class MaskedFactorizedEncoder(nn.Module):
    """Model 2 on visible patches. A mask must hide the same number of places at every time index."""

    needs_tubes = True

    def __init__(self, model: ViViTFactorizedEncoder) -> None:
        super().__init__()
        self.tokenizer = model.tokenizer
        self.spatial_encoder, self.temporal_encoder = model.spatial_encoder, model.temporal_encoder

    def forward(
        self, clip: Float[Tensor, "B C T H W"], visible: Int[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B V D"], Grid]:
        x, grid = self.tokenizer(clip)  # B N D
        n_t, places = grid[0], grid[1] * grid[2]
        x = rearrange(x, "b (t s) d -> b t s d", t=n_t)  # B n_t n_s D
        index = rearrange(visible, "b (t v) -> b t v", t=n_t) % places  # B n_t v
        x = self.spatial_encoder(x, (1, *grid[1:]), visible=index)  # B n_t v(+1) D
        states = self.temporal_encoder(self.spatial_encoder.pool(x), (n_t, 1, 1))  # B n_t(+1) D
        states = states[:, states.shape[1] - n_t :, None]  # B n_t 1 D
        return (x[:, :, x.shape[2] - index.shape[2] :] + states).flatten(1, 2), grid  # B V D


def masked_autoencoder(
    encoder: MaskedJoint | MaskedFactorizedEncoder, config: ViViTConfig, dim: int, depth: int, num_heads: int
) -> MaskedAutoencoder:
    """The encoder with a decoder of the same kind of blocks.

    Raises:
        ConfigError: the config drops patches or takes single frames, which masks and targets know nothing of.
    """
    if config.patch_drop_rate:
        raise ConfigError("model.patch_drop_rate: masked pre-training hides tokens itself; leave it out")
    if config.has_image_kernel:
        raise ConfigError("masked pre-training paints tubelets: leave num_sampled_frames and tubelet_frames out")
    if dim % num_heads or dim % 2:
        raise ConfigError(f"a decoder of width {dim} must be even and divisible by its {num_heads} heads")
    config = dataclasses.replace(config, num_classes=0)
    blocks = nn.ModuleList(
        Block(dim, num_heads, qkv_bias=config.qkv_bias, activation=config.activation, norm_eps=config.norm_eps)
        for _ in range(depth)
    )
    return MaskedAutoencoder(encoder, config, blocks, dim, config.norm_eps)
