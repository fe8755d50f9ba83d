"""VideoMAE's pre-training: an encoder that sees the visible tokens, and a decoder that paints the masked ones.

Sources: "VideoMAE" (arXiv 2203.12602) section 3, MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_pretrain.py``,
``engine_for_pretraining.py`` and ``masking_generator.py``.

    B  videos   C  channels   T, H, W  clip   N  tokens   V  visible   M = N - V  masked   D  width
    P = t h w C  values of a tubelet

Masks are true at masked tokens, as many in each video. The decoder's sequence holds the visible tokens first and then
the masked ones, each with the position of its place; they are not put back in order. Only the masked ones are painted.

Deviation: the original takes clips of 16 frames with tubelets of 2 only; here both come from the config.
"""

from __future__ import annotations

import dataclasses

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.errors import TubeletError
from tubelet.models.videomae.config import VideoMAEConfig, VideoMAEDecoderConfig
from tubelet.models.videomae.model import VideoMAEEncoder, make_blocks, take_tokens
from tubelet.nn.linear import Linear
from tubelet.nn.sine_cosine import SineCosineTable
from tubelet.types import Grid

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoMAEDecoder(nn.Module):
    """Blocks over all tokens, then a LayerNorm and a linear layer over the last ``num_masked`` of them."""

    def __init__(self, encoder: VideoMAEConfig, config: VideoMAEDecoderConfig, num_pixels: int) -> None:
        super().__init__()
        sizes = {name: getattr(config, name) for name in ("embed_dim", "num_heads", "mlp_ratio")}
        self.blocks = make_blocks(dataclasses.replace(encoder, **sizes), [0.0] * config.depth)
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.head = Linear(config.embed_dim, num_pixels)

    def forward(self, x: Float[Tensor, "B N D"], num_masked: int) -> Float[Tensor, "B M P"]:
        for block in self.blocks:
            x = block(x)  # B N D
        return self.head(self.norm(x[:, -num_masked:]))  # B M P


class VideoMAEPretraining(nn.Module):
    """The encoder of :class:`VideoMAE` with the decoder that its pre-training needs."""

    def __init__(self, config: VideoMAEConfig, decoder: VideoMAEDecoderConfig) -> None:
        super().__init__()
        self.config = dataclasses.replace(config, num_classes=0, final_norm="tokens")
        t, h, w = config.tubelet_size
        self.encoder = VideoMAEEncoder(self.config)
        self.encoder_to_decoder = Linear(config.embed_dim, decoder.embed_dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(decoder.embed_dim))
        self.pos_embed = SineCosineTable(config.grid, decoder.embed_dim, config.other_grid)
        self.decoder = VideoMAEDecoder(config, decoder, t * h * w * config.in_channels)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(self, clip: Float[Tensor, "B C T H W"], masked: Bool[Tensor, "B N"]) -> Float[Tensor, "B M P"]:
        """The pixels of the masked tokens, in the order of ``pixel_targets``.

        Raises:
            TubeletError: videos with different numbers of masked tokens, or none masked or none visible.
        """
        num_masked = check_mask(masked)
        x, grid = self.encoder(clip, ~masked)  # B V D
        x = self.encoder_to_decoder(x)  # B V D2
        positions = self.pos_embed(grid).expand(len(x), -1, -1)  # B N D2
        visible = x + take_tokens(positions, ~masked)  # B V D2
        hidden = self.mask_token + take_tokens(positions, masked)  # B M D2
        return self.decoder(torch.cat([visible, hidden], dim=1), num_masked)  # B M P


def pixel_targets(
    clip: Float[Tensor, "B C T H W"], masked: Bool[Tensor, "B N"], tubelet_size: Grid, normalize: bool = True
) -> Float[Tensor, "B M P"]:
    """What the decoder should paint: the pixels from 0 to 1 of every masked tubelet, in the order (t, h, w, channel).

    Args:
        clip: normalized by ImageNet's mean and deviation, which is undone first.
        normalize: of each tubelet and channel, subtract the mean and divide by the deviation (of a sample, n - 1) plus
            1e-6, as all released models are trained.

    Raises:
        TubeletError: the clip has not three channels.
    """
    if clip.shape[1] != len(IMAGENET_MEAN):
        raise TubeletError(f"pixel targets undo ImageNet's normalization of 3 channels, the clip has {clip.shape[1]}")
    t, h, w = tubelet_size
    mean, std = (clip.new_tensor(value)[:, None, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))
    tubelets = rearrange(
        clip * std + mean, "b c (nt t) (nh h) (nw w) -> b (nt nh nw) (t h w) c", t=t, h=h, w=w
    )  # B N thw C
    if normalize:
        deviation = tubelets.var(dim=2, unbiased=True, keepdim=True).sqrt() + 1e-6  # B N 1 C
        tubelets = (tubelets - tubelets.mean(dim=2, keepdim=True)) / deviation
    return take_tokens(tubelets.flatten(2), masked)  # B M P


def pretraining_loss(painted: Float[Tensor, "B M P"], targets: Float[Tensor, "B M P"]) -> Float[Tensor, ""]:
    """The mean squared error over all masked pixels."""
    return nn.functional.mse_loss(painted, targets)


def tube_mask(num_videos: int, grid: Grid, ratio: float, generator: torch.Generator) -> Bool[Tensor, "B N"]:
    """Masks ``int(ratio * n_h n_w)`` places of each video at all of its time indices.

    Raises:
        TubeletError: the ratio masks no place, or all.
    """
    times, places = grid[0], grid[1] * grid[2]
    number = int(ratio * places)
    if not 0 < number < places:
        raise TubeletError(
            f"a mask ratio of {ratio:g} hides {number} of {places} places of a frame; choose one that leaves some of "
            "them visible and some hidden"
        )
    order = torch.rand(num_videos, places, generator=generator).argsort(-1)  # B S
    return repeat(order < number, "b s -> b (t s)", t=times)


def check_mask(masked: Bool[Tensor, "B N"]) -> int:
    """The number of masked tokens of a video.

    Raises:
        TubeletError: it differs between videos, or none are masked or none visible.
    """
    numbers = masked.sum(-1).tolist()
    if len(set(numbers)) != 1:
        raise TubeletError(f"masks of {numbers} tokens in one batch; expected as many in each video")
    if not 0 < numbers[0] < masked.shape[1]:
        raise TubeletError(f"a mask of {numbers[0]} of {masked.shape[1]} tokens; some must be masked and some visible")
    return int(numbers[0])
