"""TimeSformer: an image ViT whose attention reaches over time, divided, joint or not at all; one class each.

Source: "Is Space-Time Attention All You Need for Video Understanding?" (arXiv 2102.05095) and its official code,
facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/models/vit.py`` (CC-BY-NC 4.0; written anew here). Where
the two differ this follows the code.

    B  videos   C  channels   T, H, W  clip in frames and pixels   S = h w  patches of a frame   D  embedding width
    N = 1 + S T  tokens, class token first, then place by place and at a place frame by frame   K  classes

Every model maps a clip ``[B, C, T, H, W]`` to logits ``[B, K]``; T, H and W come from the clip, whatever the model was
made for. Position tables made for another grid are resized as in the original (nearest row), and the change is logged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.divided import DividedBlock
from tubelet.nn.attention_steps import AttentionStep, clip_positions, clip_tokens, space_step, time_step
from tubelet.nn.block import Block, drop_path_schedule
from tubelet.nn.encoder import pool_tokens
from tubelet.nn.position import NearestPositionTable
from tubelet.nn.tokenizer import PlaceTokenizer
from tubelet.nn.video_model import VideoModel, make_linear_head
from tubelet.types import FrameFeatures, Grid


class TimeSformer(VideoModel):
    """What the three share: patches with a place, a class token, blocks, norm and head."""

    def __init__(self, config: TimeSformerConfig, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        width, (h, w) = config.embed_dim, config.grid
        self.tokenizer = PlaceTokenizer(
            config.patch_size, config.in_channels, width, (config.num_frames, h, w), config.remainder
        )
        self.cls_token = nn.Parameter(torch.empty(width))
        self.pos_embed = NearestPositionTable((1, h, w), width, num_prefix=1)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.num_features = width
        self.head = make_linear_head(width, config.num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed.table, std=0.02)
        self.apply(_init_linear)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                nn.init.zeros_(block.temporal_fc.weight)

    def make_head(self, num_classes: int) -> nn.Module:
        return make_linear_head(self.num_features, num_classes).apply(_init_linear)

    def embed(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B S T D"], Float[Tensor, " D"]]:
        """The patches of the clip and the class token, both with the row of their place."""
        x, (_, h, w) = self.tokenizer(clip)  # B S T D
        rows = self.pos_embed((1, h, w))  # 1+S D
        return x + rows[1:, None], self.cls_token + rows[0]

    def token_grid(self, clip_size: Grid) -> Grid:
        p = self.config.patch_size
        return clip_size[0], clip_size[1] // p, clip_size[2] // p


class TimedTimeSformer(TimeSformer):
    """What divided and joint attention share: a table of times, and one class token per video."""

    def __init__(self, config: TimeSformerConfig, blocks: Iterable[nn.Module]) -> None:
        super().__init__(config, blocks)
        self.time_embed = NearestPositionTable((config.num_frames, 1, 1), config.embed_dim, num_prefix=0)
        nn.init.zeros_(self.time_embed.table)

    def embed_video(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """What enters the first block; the class token has a place and no time."""
        x, class_token = self.embed(clip)  # B S T D
        x = x + self.time_embed((clip.shape[2], 1, 1))  # B S T D
        x = torch.cat([class_token.expand(x.shape[0], 1, -1), x.flatten(1, 2)], dim=1)  # B N D
        return self.pos_drop(x)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.forward_head(self.forward_features(clip))

    def forward_head(self, x: Float[Tensor, "B N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = self.norm(x[:, 0])  # B D, of the class token alone
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        x = self.norm(self.forward_features(clip)[:, 1:])  # B S*T D
        return rearrange(x, "b (h w t) d -> b t h w d", t=clip.shape[2], h=clip.shape[3] // self.config.patch_size)


class TimeSformerDivided(TimedTimeSformer):
    """Divided space-time attention ("T+S"): every block attends over time at a place, then over space in a frame."""

    def __init__(self, config: TimeSformerConfig) -> None:
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        super().__init__(config, (DividedBlock(drop_path=rate, **block_options(config)) for rate in rates))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """The tokens after the last block, before the norm, which the head takes of the class token alone."""
        x = self.embed_video(clip)  # B N D
        for block in self.blocks:
            x = block(x, num_frames=clip.shape[2])  # B N D
        return x

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        """In space every frame has a copy of the class token of the clip, and the block averages what they gather."""
        if module.endswith("temporal_attn"):
            return time_step(grid)
        tokens = torch.cat([clip_tokens(grid[0], 1), clip_positions(grid)], dim=1)  # T 1+S 3
        return AttentionStep(kind="space", queries=tokens, keys=tokens)


class TimeSformerJoint(TimedTimeSformer):
    """Joint space-time attention ("ST"): every block attends over all tokens of the video."""

    def __init__(self, config: TimeSformerConfig) -> None:
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        super().__init__(config, (Block(drop_path=rate, **block_options(config)) for rate in rates))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """The tokens after the last block, before the norm, which the head takes of the class token alone."""
        x = self.embed_video(clip)  # B N D
        for block in self.blocks:
            x = block(x)  # B N D
        return x

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        by_place = clip_positions(grid).transpose(0, 1).flatten(0, 1)  # S*T 3
        tokens = torch.cat([clip_tokens(1, 1), by_place[None]], dim=1)  # 1 N 3
        return AttentionStep(kind="joint", queries=tokens, keys=tokens)


class TimeSformerSpace(TimeSformer):
    """Space-only attention ("S"): an image ViT on every frame, the mean over frames before norm and head.

    A per-frame stage and a temporal one, which is blind to the order of frames.
    """

    frames_per_feature = 1
    frame_stage = ("tokenizer", "cls_token", "pos_embed", "blocks")  # its modules and parameters

    def __init__(self, config: TimeSformerConfig) -> None:
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        super().__init__(config, (Block(drop_path=rate, **block_options(config)) for rate in rates))

    def forward(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B K"]:
        return self.encode_time(clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        """The per-frame stage: the class token ``[D]`` of every frame, independent of every other frame."""
        return FrameFeatures(vectors=self._each_frame(clip)[:, :, 0])

    def _each_frame(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B T S1 D"]:
        """The tokens of every frame behind the last block, class token first."""
        x, class_token = self.embed(clip)  # B S T D
        x = rearrange(x, "b s t d -> (b t) s d")
        x = torch.cat([class_token.expand(x.shape[0], 1, -1), x], dim=1)  # B*T 1+S D
        x = self.pos_drop(x)
        for block in self.blocks:
            x = block(x)  # B*T 1+S D
        return x.unflatten(0, (clip.shape[0], -1))  # B T 1+S D

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the mean of the vectors."""
        return self.forward_head(features.vectors, valid=features.valid)

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B T D"]:
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip)
        return features.vectors

    def forward_head(
        self, x: Float[Tensor, "B T D"], pre_logits: bool = False, valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B K"]:
        """``valid`` is False where a shorter video of the batch has no frame."""
        x = self.norm(pool_tokens(x, "avg", valid))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        x = self.norm(self._each_frame(clip)[:, :, 1:])  # B T S D
        return rearrange(x, "b t (h w) d -> b t h w d", h=clip.shape[3] // self.config.patch_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return space_step(grid, 1)


def block_options(config: TimeSformerConfig) -> dict[str, Any]:
    """The constructor arguments that both kinds of block share, named as the config's fields."""
    shared = "embed_dim num_heads mlp_ratio qkv_bias activation norm_eps drop_rate attn_drop_rate"
    return {name: getattr(config, name) for name in shared.split()}


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
