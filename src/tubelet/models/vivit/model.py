"""ViViT: Models 1 to 4 and the average-pool baseline, one class each.

Source: "ViViT: A Video Vision Transformer" (arXiv 2103.15691, section 3) and its official code,
google-research/scenic, commit 4a38d475, ``projects/vivit/model.py``.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes   D  embedding width
    N = n_t n_s  tokens   n_t  time indices   n_s = n_h n_w  tokens of one time index

Every model maps a clip ``[B, C, T, H, W]`` to logits ``[B, K]``; T, H and W come from the clip. Position tables
made for another grid are interpolated and the change is logged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.models.vivit.config import (
    FactorizedEncoderConfig,
    FactorizedSelfAttentionConfig,
    TokenPoolConfig,
    ViViTConfig,
)
from tubelet.models.vivit.masked import MaskedFactorizedEncoder, MaskedJoint, masked_autoencoder
from tubelet.nn.attention_steps import AttentionStep, frames_step, joint_step, space_step, time_step
from tubelet.nn.block import (
    Block,
    FactorizedDotProductBlock,
    FactorizedSelfAttentionBlock,
    drop_path_schedule,
)
from tubelet.nn.encoder import Encoder, pool_tokens
from tubelet.nn.masked.autoencoder import MaskedAutoencoder
from tubelet.nn.patch_dropout import PatchDropout
from tubelet.nn.position import PositionTable
from tubelet.nn.tokenizer import (
    AveragedFramesTokenizer,
    TubeletTokenizer,
    UniformFrameTokenizer,
    keep_central_frame_,
)
from tubelet.nn.video_model import VideoModel, make_linear_head, on_grid
from tubelet.types import FrameFeatures, Grid


class ViViT(VideoModel):
    """What all share: the optional dense + tanh layer, and the classifier, which starts at zero."""

    config: ViViTConfig

    def make_head(self, num_classes: int) -> nn.Module:
        return make_head(self.config.pre_logits_width, num_classes)


class ViViTJoint(ViViT):
    """Model 1: attention over all tokens of space and time (section 3.3, "spatio-temporal attention")."""

    def __init__(self, config: ViViTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config)
        self.encoder = make_encoder(config, config.grid)
        self.num_features, self.pre_logits, self.head = make_classifier(config)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.forward_head(self.forward_features(clip))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        x, grid = self.tokenizer(clip)  # B N D
        return self.encoder(x, grid)  # B N(+1) D

    def forward_head(self, x: Float[Tensor, "B N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = self.pre_logits(self.encoder.pool(x))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        x, grid = self.tokenizer(clip)  # B N D
        return on_grid(self.encoder(x, grid), grid)

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.config.grid_of(clip_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return joint_step(grid, self.encoder.pos_embed.num_prefix)

    def masked_autoencoder(self, dim: int, depth: int, num_heads: int) -> MaskedAutoencoder:
        return masked_autoencoder(MaskedJoint(self), self.config, dim, depth, num_heads)


class TwoStageViViT(ViViT):
    """What Model 2 and average pool share: a stage over each time index, then one over time."""

    tokenizer: nn.Module
    spatial_encoder: Encoder
    pre_logits: nn.Module
    head: nn.Module
    frame_stage = ("tokenizer", "spatial_encoder")  # modules of the per-frame stage

    @property
    def frames_per_feature(self) -> int | None:
        """Frames that make one vector; None where frames are chosen from the whole clip."""
        return self.config.tubelet_size[0] if self.config.num_sampled_frames is None else None

    def forward(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B K"]:
        return self.encode_time(clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        """The per-frame stage: one vector ``[D]`` per time index, independent of every other time index."""
        return FrameFeatures(vectors=encode_each_time_index(self.tokenizer, self.spatial_encoder, clip))

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the vectors of consecutive time indices."""
        return self.forward_head(self.forward_features(features), valid=features.valid)

    def forward_head(
        self, x: Float[Tensor, "B N D"], pre_logits: bool = False, valid: Bool[Tensor, "B n_t"] | None = None
    ) -> Float[Tensor, "B K"]:
        """``valid`` is False where a shorter video of the batch has no time index."""
        raise NotImplementedError

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.config.grid_of(clip_size)

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        num_prefix = self.spatial_encoder.pos_embed.num_prefix  # of both encoders
        in_space = module.startswith("spatial_encoder.")
        return space_step(grid, num_prefix) if in_space else frames_step(grid[0], num_prefix)


class ViViTFactorizedEncoder(TwoStageViViT):
    """Model 2: a spatial encoder on each time index, then a temporal encoder over their vectors."""

    def __init__(self, config: FactorizedEncoderConfig) -> None:
        super().__init__()
        self.config = config
        n_t, n_h, n_w = config.grid
        self.tokenizer = make_tokenizer(config)
        self.spatial_encoder = make_encoder(config, (1, n_h, n_w))
        self.temporal_encoder = make_encoder(
            config,
            (n_t, 1, 1),
            depth=config.temporal_depth,
            num_heads=config.temporal_num_heads,
            mlp_ratio=config.temporal_mlp_ratio,
            patch_drop_rate=0.0,
        )
        self.num_features, self.pre_logits, self.head = make_classifier(config)

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B N D"]:
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip)
        x = features.vectors  # B n_t D
        return self.temporal_encoder(x, (x.shape[1], 1, 1), features.valid)  # B n_t(+1) D

    def forward_head(
        self, x: Float[Tensor, "B N D"], pre_logits: bool = False, valid: Bool[Tensor, "B n_t"] | None = None
    ) -> Float[Tensor, "B K"]:
        x = self.pre_logits(self.temporal_encoder.pool(x, valid))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t 1 1 D"]:
        """The states of the temporal encoder, one per time index."""
        features = self.encode_frames(clip)
        return on_grid(self.forward_features(features), (features.vectors.shape[1], 1, 1))

    def masked_autoencoder(self, dim: int, depth: int, num_heads: int) -> MaskedAutoencoder:
        return masked_autoencoder(MaskedFactorizedEncoder(self), self.config, dim, depth, num_heads)


class ViViTAveragePool(TwoStageViViT):
    """The baseline of Table 2: Model 2's spatial encoder, its vectors averaged over time; blind to their order."""

    def __init__(self, config: ViViTConfig) -> None:
        super().__init__()
        self.config = config
        _, n_h, n_w = config.grid
        self.tokenizer = make_tokenizer(config)
        self.spatial_encoder = make_encoder(config, (1, n_h, n_w))
        self.num_features, self.pre_logits, self.head = make_classifier(config)

    def forward_features(self, clip: Float[Tensor, "B C T H W"] | FrameFeatures) -> Float[Tensor, "B n_t D"]:
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip)
        return features.vectors

    def forward_head(
        self, x: Float[Tensor, "B n_t D"], pre_logits: bool = False, valid: Bool[Tensor, "B n_t"] | None = None
    ) -> Float[Tensor, "B K"]:
        """The plain mean over time, whatever ``global_pool`` is."""
        x = self.pre_logits(pool_tokens(x, "avg", valid))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        """The patches of each time index behind the spatial encoder, which sees that index alone."""
        x, grid = encode_places(self.tokenizer, self.spatial_encoder, clip)  # B n_t n_s(+1) D
        return x[:, :, x.shape[2] - grid[1] * grid[2] :].unflatten(2, grid[1:])


class FactorizedViViT(ViViT):
    """What Models 3 and 4 share: no class token, and blocks over tokens that stay on their grid."""

    def __init__(self, config: TokenPoolConfig, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config)
        self.pos_embed = PositionTable(config.grid, config.embed_dim, num_prefix=0)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.patch_drop = PatchDropout(config.patch_drop_rate, num_prefix=0)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.num_features, self.pre_logits, self.head = make_classifier(config)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.forward_head(self.forward_features(clip))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        return self.encode(clip)[0]

    def encode(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        """The tokens after the final LayerNorm, and their grid (of all places, where training drops some)."""
        x, grid = self.tokenizer(clip)  # B N D
        x = self.patch_drop(self.pos_drop(x + self.pos_embed(grid)), grid)  # B N D, fewer places in training
        x = rearrange(x, "b (t s) d -> b t s d", t=grid[0])  # B n_t n_s D
        for block in self.blocks:
            x = block(x)  # B n_t n_s D
        return self.norm(x).flatten(1, 2), grid  # B N D

    def forward_head(self, x: Float[Tensor, "B N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = self.pre_logits(pool_tokens(x, self.config.global_pool))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        return on_grid(*self.encode(clip))

    def token_grid(self, clip_size: Grid) -> Grid:
        return self.config.grid_of(clip_size)


class ViViTFactorizedSelfAttention(FactorizedViViT):
    """Model 3: every block attends over space within a time index, then over time at a place."""

    def __init__(self, config: FactorizedSelfAttentionConfig) -> None:
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        options = {"order": config.attention_order, **block_options(config)}
        super().__init__(config, (FactorizedSelfAttentionBlock(drop_path=rate, **options) for rate in rates))

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return time_step(grid) if module.endswith("attn_time") else space_step(grid, 0)


class ViViTFactorizedDotProduct(FactorizedViViT):
    """Model 4: in every block half of the heads attend over time and half over space."""

    def __init__(self, config: TokenPoolConfig) -> None:
        if config.num_heads % 2:
            raise ConfigError(f"Model 4 splits its heads in two halves: num_heads must be even, got {config.num_heads}")
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        super().__init__(config, (FactorizedDotProductBlock(drop_path=r, **block_options(config)) for r in rates))

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return time_step(grid) if call == 0 else space_step(grid, 0)  # the first half of the heads, then the other


def encode_each_time_index(
    tokenizer: nn.Module, spatial_encoder: Encoder, clip: Float[Tensor, "B C T H W"]
) -> Float[Tensor, "B n_t D"]:
    """The spatial encoder with shared weights on the tokens of every time index, each pooled to a vector."""
    x, _ = encode_places(tokenizer, spatial_encoder, clip)  # B n_t n_s(+1) D
    return spatial_encoder.pool(x)  # B n_t D


def encode_places(
    tokenizer: nn.Module, spatial_encoder: Encoder, clip: Float[Tensor, "B C T H W"]
) -> tuple[Float[Tensor, "B n_t n_s D"], Grid]:
    """The spatial encoder on the tokens of every time index (a class token first, where it has one), and the grid."""
    x, (n_t, n_h, n_w) = tokenizer(clip)  # B N D
    x = rearrange(x, "b (t s) d -> b t s d", t=n_t)  # B n_t n_s D
    return spatial_encoder(x, (1, n_h, n_w)), (n_t, n_h, n_w)  # B n_t n_s(+1) D


def make_tokenizer(config: ViViTConfig) -> TubeletTokenizer | UniformFrameTokenizer | AveragedFramesTokenizer:
    t, h, w = config.tubelet_size
    rest = (config.in_channels, config.embed_dim, config.grid, config.remainder)
    if (n := config.num_sampled_frames) is not None:
        return UniformFrameTokenizer(n, (h, w), *rest)
    if config.tubelet_frames == "averaged":
        return AveragedFramesTokenizer((t, h, w), *rest)
    tokenizer = TubeletTokenizer((t, h, w), *rest)
    if config.tubelet_frames == "central_first":
        keep_central_frame_(tokenizer)
    return tokenizer


def make_encoder(
    config: ViViTConfig,
    grid: Grid,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_ratio: float | None = None,
    patch_drop_rate: float | None = None,
) -> Encoder:
    """An encoder with the fields of ``config``, or those given in place of them."""
    options = block_options(config)
    options["num_heads"] = num_heads or config.num_heads
    options["mlp_ratio"] = mlp_ratio or config.mlp_ratio
    rates = drop_path_schedule(config.drop_path_rate, config.depth if depth is None else depth)
    blocks = [Block(drop_path=rate, **options) for rate in rates]
    patch_drop_rate = config.patch_drop_rate if patch_drop_rate is None else patch_drop_rate
    width, norm_eps = config.embed_dim, config.norm_eps
    return Encoder(blocks, grid, width, config.global_pool, config.drop_rate, norm_eps, patch_drop_rate)


def block_options(config: ViViTConfig) -> dict[str, Any]:
    """The constructor arguments that all three kinds of block share, named as the config's fields."""
    shared = "embed_dim num_heads mlp_ratio qkv_bias activation norm_eps drop_rate attn_drop_rate drop_path_rescaled"
    return {name: getattr(config, name) for name in shared.split()}


def make_classifier(config: ViViTConfig) -> tuple[int, nn.Module, nn.Module]:
    """The width that the head takes, the optional dense + tanh layer before it, and the head."""
    width = config.pre_logits_width
    pre_logits: nn.Module = nn.Identity()
    if config.representation_size is not None:
        pre_logits = nn.Sequential(nn.Linear(config.embed_dim, width), nn.Tanh())
    return width, pre_logits, make_head(width, config.num_classes)


def make_head(width: int, num_classes: int) -> nn.Module:
    """The classifier, which starts at zero; an identity for 0 classes."""
    head = make_linear_head(width, num_classes)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head
