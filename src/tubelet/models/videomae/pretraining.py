"""VideoMAE's pre-training: an encoder that sees the visible tokens, and a decoder that paints the masked ones.

Sources: "VideoMAE" (arXiv 2203.12602) section 3, MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_pretrain.py``,
``engine_for_pretraining.py``. The rest is ``tubelet.nn.masked.autoencoder``, which other models share.

    B  videos   M  masked tokens   P  values of a tubelet

Deviation: the original takes clips of 16 frames with tubelets of 2 only; here both come from the config.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn

from tubelet.models.videomae.config import VideoMAEConfig, VideoMAEDecoderConfig
from tubelet.models.videomae.model import VideoMAEEncoder, make_blocks
from tubelet.nn.masked.autoencoder import MaskedAutoencoder


class VideoMAEPretraining(MaskedAutoencoder):
    """The encoder of :class:`VideoMAE` with the decoder that its pre-training needs."""

    def __init__(self, config: VideoMAEConfig, decoder: VideoMAEDecoderConfig) -> None:
        config = dataclasses.replace(config, num_classes=0, final_norm="tokens")
        sizes = {name: getattr(decoder, name) for name in ("embed_dim", "num_heads", "mlp_ratio")}
        blocks = make_blocks(dataclasses.replace(config, **sizes), [0.0] * decoder.depth)
        super().__init__(
            VideoMAEEncoder(config), config, blocks, decoder.embed_dim, decoder.norm_eps, config.other_grid
        )


def pretraining_loss(painted: Float[Tensor, "B M P"], targets: Float[Tensor, "B M P"]) -> Float[Tensor, ""]:
    """The mean squared error over all masked pixels."""
    return nn.functional.mse_loss(painted, targets)
