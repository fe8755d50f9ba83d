"""UniFormerV2: an image ViT on every frame, and global blocks that gather a video token from its layers.

Source: "UniFormerV2: Unlocking the Potential of Image ViTs for Video Understanding" (ICCV 2023, arXiv 2211.09552) and
its official code, OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/models/uniformerv2_model.py``. Where the two
differ this follows the code: the residual around the cross attention, two local branches per block, and the roles in
the blend of video token and class tokens.

    B  videos   C  channels   T, H, W  clip in frames and pixels   T'  time indices   N = 1 + h w  tokens of a frame
    D  embedding width   K  classes

Every model maps a clip ``[B, C, T, H, W]`` to logits ``[B, K]``; T, H and W come from the clip. The original divides by
a stored number of frames and takes the square root of the number of patches: another clip silently changes the batch
or fails there.
"""

from __future__ import annotations

import logging

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.models.uniformerv2.attention_steps import step_of
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig
from tubelet.models.uniformerv2.fusion import (
    HierarchicalKeyFusion,
    HierarchicalQueryFusion,
    ParallelFusion,
    SequentialFusion,
)
from tubelet.models.uniformerv2.global_block import GlobalUniBlock
from tubelet.models.uniformerv2.image_trunk import FrameStem, ImageTrunk, make_trunk_mlp
from tubelet.models.uniformerv2.local_block import LocalMHRA, LocalUniBlock, RelativeAttention, RelativeLocalUniBlock
from tubelet.nn.attention import Attention
from tubelet.nn.attention_steps import AttentionStep
from tubelet.nn.block import drop_path_schedule
from tubelet.nn.video_model import VideoModel, make_linear_head
from tubelet.types import FrameFeatures, Grid

log = logging.getLogger(__name__)

# The four strategies of Figure 3.
FUSIONS = {
    "sequential": SequentialFusion,
    "parallel": ParallelFusion,
    "hierarchical_kv": HierarchicalKeyFusion,
    "hierarchical_q": HierarchicalQueryFusion,
}


class GatheredTokens(VideoModel):
    """What both wirings share: global blocks gather one vector per video, so that it is all that the head takes."""

    trunk: ImageTrunk
    pool: BlendWithClassTokens | VideoTokenAlone
    head_drop: nn.Module
    head: nn.Module

    @property
    def class_token_share(self) -> float:
        """Share of the mean class token, beside the queries, in what the head takes; the mean over channels."""
        return self.pool.class_token_share

    def forward_head(self, x: Float[Tensor, "B D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        return x if pre_logits else self.head(self.head_drop(x))  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        """The patches behind the last block of the image ViT."""
        (x,), _, grid = self.trunk(clip, [len(self.trunk.blocks) - 1])  # B T' N D
        return x[:, :, 1:].unflatten(2, grid)


class UniFormerV2(GatheredTokens):
    """Image ViT and global blocks (the wiring for Kinetics and Moments): a per-frame stage, then a temporal one."""

    frames_per_feature = 1  # the image ViT sees one frame at a time

    def __init__(self, config: UniFormerV2Config) -> None:
        super().__init__()
        self.config = config
        self.layers = config.layers_with_global_block()
        self.trunk = ImageTrunk(
            make_stem(config, 1, 1), make_blocks(config), config.grid, config.embed_dim, config.trunk
        )
        self.fusion = make_fusion(config, len(self.layers))
        self.pool = VideoTokenAlone() if config.frozen else BlendWithClassTokens(config.embed_dim)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.num_features = config.embed_dim
        self.head = make_linear_head(config.embed_dim, config.num_classes)
        if config.frozen:
            self.trunk.requires_grad_(False)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.encode_time(self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        """The per-frame stage: tokens of the layers that feed a global block and the last class token of every frame,
        independent of every other frame."""
        layers, class_tokens, grid = self.trunk(clip, self.layers)  # each B T N D; B T D
        return FrameFeatures(vectors=class_tokens, tokens=tuple(layers), token_grid=grid)

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the tokens of consecutive frames."""
        return self.forward_head(self.forward_features(features))

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B D"]:
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip)
        assert features.token_grid is not None, "features of another model: they carry no tokens"
        x = self.fusion(features.tokens, features.token_grid, features.valid)  # B D
        return self.norm(self.pool(x, features.vectors, features.valid))  # B D

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.trunk.token_grid(clip_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return step_of(self.config, module, grid)


class UniFormerV2Local(GatheredTokens):
    """Temporal branches in the image ViT and a stem that halves the frames (the wiring for Something-Something)."""

    def __init__(self, config: UniFormerV2LocalConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = config.layers_with_global_block()
        stem = make_stem(config, config.stem_kernel, 2) if config.temporal_downsample else make_stem(config, 1, 1)
        self.trunk = ImageTrunk(stem, make_local_blocks(config), config.grid, config.embed_dim, config.trunk)
        self.fusion = make_fusion(config, len(self.layers))
        self.pool = VideoTokenAlone() if config.frozen else BlendWithClassTokens(config.embed_dim)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.num_features = config.embed_dim
        self.head = make_linear_head(config.embed_dim, config.num_classes)
        if config.frozen:
            log.info("frozen: the temporal stem and branches in the image ViT keep their weights in training too")
            self.trunk.requires_grad_(False)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.forward_head(self.forward_features(clip))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B D"]:
        layers, class_tokens, grid = self.trunk(clip, self.layers)  # each B T' N D; B T' D
        return self.norm(self.pool(self.fusion(layers, grid), class_tokens))  # B D

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.trunk.token_grid(clip_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return step_of(self.config, module, grid)


class BlendWithClassTokens(nn.Module):
    """``(1 - a) video + a mean(class tokens)`` with a learned ``a = sigmoid(balance)`` per channel, 1/2 at the start.

    The paper prints the two roles of a the other way round; the code and its weights have them as here.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.zeros(embed_dim))

    @property
    def class_token_share(self) -> float:
        return float(self.balance.detach().sigmoid().mean())

    def forward(
        self,
        video: Float[Tensor, "B D"],
        class_tokens: Float[Tensor, "B T D"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        if valid is None:
            mean = class_tokens.mean(1)  # B D
        else:
            kept = class_tokens.masked_fill(~valid.unsqueeze(-1), 0.0)
            mean = kept.sum(1) / valid.sum(1, keepdim=True)  # B D
        share = self.balance.sigmoid()
        # Under autocast the fusions give video tokens in different formats; the blend is in that of the parameter.
        return torch.lerp(video.to(share.dtype), mean.to(share.dtype), share)


class VideoTokenAlone(nn.Module):
    """For a frozen image ViT: what enters the head is learned from video."""

    class_token_share = 0.0

    def forward(
        self,
        video: Float[Tensor, "B D"],
        class_tokens: Float[Tensor, "B T D"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B D"]:
        return video


def make_stem(config: UniFormerV2Config, kernel: int, stride: int) -> FrameStem:
    bias, remainder = config.trunk.patch_bias, config.remainder
    return FrameStem(config.patch_size, config.in_channels, config.embed_dim, kernel, stride, bias, remainder)


def make_blocks(config: UniFormerV2Config) -> list[LocalUniBlock]:
    """The blocks of the image ViT as they are."""
    return [make_block(config, rate) for rate in drop_path_schedule(config.drop_path_rate, config.depth)]


def make_local_blocks(config: UniFormerV2LocalConfig) -> list[LocalUniBlock]:
    """The blocks of the image ViT, those that the config names with their temporal branches."""
    blocks = make_blocks(config)
    for i in config.layers_with_local_branch():
        blocks[i].local1 = LocalMHRA(config.embed_dim, config.dw_reduction)
        if config.num_local == 2:
            blocks[i].local2 = LocalMHRA(config.embed_dim, config.dw_reduction)
    return blocks


def make_block(config: UniFormerV2Config, drop_path: float) -> LocalUniBlock:
    style, width = config.trunk, config.embed_dim
    mlp = make_trunk_mlp(width, style.activation)
    if style.position == "relative":
        attn = RelativeAttention(width, config.num_heads, config.grid)
        return RelativeLocalUniBlock(attn, mlp, width, style.norm_eps, style.layer_scale, drop_path)
    return LocalUniBlock(Attention(width, config.num_heads), mlp, width, style.norm_eps, style.layer_scale, drop_path)


def make_fusion(config: UniFormerV2Config, num_blocks: int) -> nn.Module:
    heads = config.global_num_heads or config.num_heads
    blocks = [
        GlobalUniBlock(config.embed_dim, heads, config.global_mlp_ratio, config.global_drop_rate, rate, config.dpe)
        for rate in drop_path_schedule(config.global_drop_path_rate, num_blocks)
    ]
    return FUSIONS[config.fusion](blocks, config.embed_dim, config.num_queries)
