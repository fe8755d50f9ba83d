"""VideoPrism: a ViT over the patches of every frame, then one over time at every place, and attention pooling.

Source: "VideoPrism: A Foundational Visual Encoder for Video Understanding" (arXiv 2402.13217) and its official code,
google-deepmind/videoprism, commit d481d91b, ``videoprism/encoders.py`` and ``layers.py``.

    B  videos   C  channels   T, H, W  clip in frames and pixels   P = h w  patches of a frame   D  embedding width
    N = T P  tokens, frame by frame   K  classes

It is ViViT's Model 2 without class tokens and without pooling between the two encoders: the second one has all
patches, each place for itself. Scores of attention are capped, and LayerNorms store their weight as the difference
from 1. Every model maps a clip ``[B, C, T, H, W]``, pixels from 0 to 1, to logits ``[B, K]``; T, H and W come from the
clip, and tables made for another grid are resized as in the original, which is logged.

Deviation: pictures need not be square; the original refuses others.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.models.videoprism.config import VideoPrismConfig, VideoTowerConfig
from tubelet.models.videoprism.pooling import AttentionPool
from tubelet.nn.attention import SoftCappedAttention
from tubelet.nn.attention_steps import (
    AttentionStep,
    clip_positions,
    clip_tokens,
    joint_step,
    space_step,
    time_step,
)
from tubelet.nn.block import Block, drop_path_schedule
from tubelet.nn.encoder import Encoder
from tubelet.nn.offset_norm import OffsetLayerNorm
from tubelet.nn.position import AntialiasedPositionTable
from tubelet.nn.tokenizer import TubeletTokenizer
from tubelet.nn.video_model import VideoModel, make_linear_head, on_grid
from tubelet.types import FrameFeatures, Grid


class SoftCappedBlock(Block):
    """The standard block with capped scores and offset LayerNorms."""

    attention = SoftCappedAttention
    layer_norm = OffsetLayerNorm


class SoftCappedEncoder(Encoder):
    """The standard encoder with offset LayerNorm and a table that is resized with antialiasing; no class token."""

    position_table = AntialiasedPositionTable
    layer_norm = OffsetLayerNorm


class VideoPrism(VideoModel):
    """Encoder, attention pooling and a linear classifier: a per-frame stage, then a temporal one at every place."""

    frames_per_feature = 1  # the encoder over space sees one frame at a time
    layer_pattern = r"(?:(?:spatial|temporal)_encoder\.blocks|auxiliary_blocks)\.\d+\."

    def __init__(self, config: VideoPrismConfig, auxiliary_blocks: Iterable[SoftCappedBlock] = ()) -> None:
        super().__init__()
        self.config = config
        p, (n_t, n_h, n_w) = config.patch_size, config.grid
        self.tokenizer = TubeletTokenizer(
            (1, p, p), config.in_channels, config.embed_dim, config.grid, config.remainder
        )
        self.spatial_encoder = make_encoder(config, config.depth, (1, n_h, n_w))
        self.temporal_encoder = make_encoder(config, config.temporal_depth, (n_t, 1, 1))
        self.auxiliary_blocks = nn.ModuleList(auxiliary_blocks)  # here, so that layers count in their order
        self.pool = AttentionPool(config.embed_dim, config.pool_width, config.num_heads, config.norm_eps)
        self.num_features = config.embed_dim
        self.head = self.make_head(config.num_classes)

    def make_head(self, num_classes: int) -> nn.Module:
        head = make_linear_head(self.num_features, num_classes)
        if isinstance(head, nn.Linear):
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        return head

    def forward(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B K"]:
        return self.encode_time(clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        """The per-frame stage: the patches of every frame, independent of every other frame, and their mean."""
        x, (n_t, n_h, n_w) = self.tokenizer(clip)  # B N D
        x = self.spatial_encoder(rearrange(x, "b (t p) d -> b t p d", t=n_t), (1, n_h, n_w))  # B T P D
        return FrameFeatures(vectors=x.mean(2), tokens=(x,), token_grid=(n_h, n_w))

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the patches of consecutive frames."""
        return self.forward_head(self.forward_features(features), valid=valid_tokens(features))

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B N D"]:
        return self.over_time(clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip))

    def forward_head(
        self, x: Float[Tensor, "B N D"], pre_logits: bool = False, valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K"]:
        """``valid`` is False for tokens of frames that a shorter video of the batch does not have."""
        x = self.pool(x, valid)  # B D
        return x if pre_logits else self.head(x)  # B K

    def over_time(self, features: FrameFeatures) -> Float[Tensor, "B N D"]:
        """The encoder's tokens, frame by frame."""
        (x,), valid = features.tokens, features.valid  # B T P D; B T
        num_times, num_places = x.shape[1:3]
        at_places = None if valid is None else repeat(valid, "b t -> b p t", p=num_places)
        x = self.temporal_encoder(rearrange(x, "b t p d -> b p t d"), (num_times, 1, 1), at_places)  # B P T D
        return rearrange(x, "b p t d -> b (t p) d")

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        """What the encoder makes of a clip."""
        features = self.encode_frames(clip)
        assert features.token_grid is not None
        return on_grid(self.over_time(features), (features.vectors.shape[1], *features.token_grid))

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.config.grid_of(clip_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        if module.startswith("spatial_encoder."):
            return space_step(grid, 0)
        if module.startswith("temporal_encoder."):
            return time_step(grid)
        tokens = clip_positions(grid).flatten(0, 1)[None]  # 1 N 3
        return AttentionStep(kind="pool", queries=clip_tokens(1, 1), keys=tokens)


class VideoPrismTower(VideoPrism):
    """The video side of the video-text model: blocks over all tokens before the pooling, and a vector of length 1.

    ``head`` classifies that vector. With the text tower's vectors of class names as its weight, the logits are those
    of zero-shot classification.
    """

    config: VideoTowerConfig

    def __init__(self, config: VideoTowerConfig) -> None:
        super().__init__(config, make_blocks(config, [0.0] * config.auxiliary_depth))

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B N D"]:
        """The tokens behind the auxiliary blocks, frame by frame."""
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip)
        x, valid = self.over_time(features), valid_tokens(features)  # B N D
        for block in self.auxiliary_blocks:
            x = block(x, valid)  # B N D
        return x

    def forward_head(
        self, x: Float[Tensor, "B N D"], pre_logits: bool = False, valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K"]:
        x = unit_length(self.pool(x, valid))  # B D
        return x if pre_logits else self.head(x)  # B K

    def video_embedding(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B D"]:
        """What the video-text model compares with texts, of length 1."""
        return self.forward_head(self.forward_features(clip), pre_logits=True)

    def frame_embeddings(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B T D"]:
        """The same pooling of the tokens of every frame."""
        x = self.forward_features(clip)  # B N D
        x = rearrange(x, "b (t p) d -> (b t) p d", t=clip.shape[2])
        return unit_length(self.pool(x)).unflatten(0, (clip.shape[0], -1))

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        if module.startswith("auxiliary_blocks."):
            return joint_step(grid, 0)
        return super().attention_step(module, call, grid)


def valid_tokens(features: FrameFeatures) -> Bool[Tensor, "B N"] | None:
    """Which tokens belong to a frame of their video. None means all."""
    if features.valid is None:
        return None
    return repeat(features.valid, "b t -> b (t p)", p=features.tokens[0].shape[2])


def make_encoder(config: VideoPrismConfig, depth: int, grid: Grid) -> SoftCappedEncoder:
    rates = drop_path_schedule(config.drop_path_rate, depth)
    blocks = list(make_blocks(config, rates))
    return SoftCappedEncoder(blocks, grid, config.embed_dim, "avg", norm_eps=config.norm_eps)


def make_blocks(config: VideoPrismConfig, drop_path_rates: Iterable[float]) -> Iterable[SoftCappedBlock]:
    for rate in drop_path_rates:
        block = SoftCappedBlock(
            config.embed_dim,
            config.num_heads,
            config.mlp_ratio,
            activation="gelu",
            norm_eps=config.norm_eps,
            drop_path=rate,
        )
        assert isinstance(block.attn, SoftCappedAttention)
        block.attn.soft_cap = config.soft_cap
        yield block


def unit_length(x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-12)
