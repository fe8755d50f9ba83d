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
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.nn.block import (
    Activation,
    AxisOrder,
    Block,
    FactorizedDotProductBlock,
    FactorizedSelfAttentionBlock,
    drop_path_schedule,
)
from tubelet.nn.encoder import Encoder, GlobalPool, pool_tokens
from tubelet.nn.position import PositionTable
from tubelet.nn.tokenizer import TubeletTokenizer, UniformFrameTokenizer
from tubelet.types import FrameFeatures, Grid


@dataclass(frozen=True, kw_only=True)
class ViViTConfig:
    """Fields common to all ViViT models; the defaults are ViViT-B/16x2 on Kinetics-400."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 32  # frames that the position table is made for
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the position table is made for
    tubelet_size: tuple[int, int, int] = (2, 16, 16)  # frames, height and width in pixels
    num_sampled_frames: int | None = None  # uniform frame sampling of so many frames; then tubelet_size[0] is 1
    embed_dim: int = 768  # width of a token
    depth: int = 12  # blocks (of the spatial encoder in Model 2 and average pool)
    num_heads: int = 12  # attention heads per block
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    qkv_bias: bool = True  # bias in the query, key and value projections
    activation: Activation = "gelu_tanh"  # tanh approximation of GELU as in the original, or the exact one
    norm_eps: float = 1e-6  # epsilon of every LayerNorm
    global_pool: GlobalPool = "token"  # class token, or first token, mean, maximum or sum of the tokens
    representation_size: int | None = None  # width of an extra dense + tanh layer before the head
    drop_rate: float = 0.0  # dropout after positions, projections and MLP layers
    attn_drop_rate: float = 0.0  # dropout on attention weights
    drop_path_rate: float = 0.0  # stochastic depth of the last block; grows linearly from 0 at the first

    def __post_init__(self) -> None:
        for name in ("num_classes", "in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for size, patch, name in zip((self.num_frames, *self.image_size), self.tubelet_size, "thw", strict=True):
            if patch <= 0 or size <= 0 or size % patch:
                raise ConfigError(f"tubelet_size {name}={patch} does not divide {size} (num_frames, image_size)")
        if self.num_sampled_frames is not None and self.tubelet_size[0] != 1:
            raise ConfigError(
                f"uniform frame sampling (num_sampled_frames={self.num_sampled_frames}) cuts single frames: "
                f"set tubelet_size to (1, h, w), got {self.tubelet_size}"
            )
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")

    @property
    def grid(self) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip of ``num_frames`` x ``image_size``."""
        t, h, w = self.tubelet_size
        num_times = self.num_frames // t
        if self.num_sampled_frames is not None:
            num_times = min(num_times, self.num_sampled_frames)
        return num_times, self.image_size[0] // h, self.image_size[1] // w


@dataclass(frozen=True, kw_only=True)
class FactorizedEncoderConfig(ViViTConfig):
    """Model 2: the second encoder over time. Both encoders have the same width."""

    temporal_depth: int = 4  # blocks of the temporal encoder
    temporal_num_heads: int | None = None  # none: as num_heads
    temporal_mlp_ratio: float | None = None  # none: as mlp_ratio

    def __post_init__(self) -> None:
        super().__post_init__()
        heads = self.num_heads if self.temporal_num_heads is None else self.temporal_num_heads
        if heads <= 0 or self.embed_dim % heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by temporal_num_heads {heads}")
        if self.temporal_depth <= 0:
            raise ConfigError(f"temporal_depth must be positive, got {self.temporal_depth} (for none: average pool)")


@dataclass(frozen=True, kw_only=True)
class TokenPoolConfig(ViViTConfig):
    """Model 4: pools tokens, since a class token has no place on the grid that its attention is factorized over."""

    global_pool: GlobalPool = "avg"  # mean, maximum or sum of the tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_pool not in ("avg", "max", "sum"):
            raise ConfigError(
                f"global_pool='{self.global_pool}' needs a class token, which attention factorized over time and "
                "space has no place for; use avg, max or sum"
            )


@dataclass(frozen=True, kw_only=True)
class FactorizedSelfAttentionConfig(TokenPoolConfig):
    """Model 3: also the order of its two attentions."""

    attention_order: AxisOrder = "space_time"  # space first as the paper describes it, or time first


class ViViTJoint(nn.Module):
    """Model 1: attention over all tokens of space and time (section 3.3, "spatio-temporal attention")."""

    def __init__(self, config: ViViTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config)
        self.encoder = make_encoder(config, config.grid)
        self.pre_logits, self.head = make_head(config)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        x, grid = self.tokenizer(clip)  # B N D
        x = self.encoder(x, grid)  # B N(+1) D
        x = self.encoder.pool(x)  # B D
        return self.head(self.pre_logits(x))  # B K


class TwoStageViViT(nn.Module):
    """What Model 2 and average pool share: a stage over each time index, then one over time."""

    config: ViViTConfig
    tokenizer: nn.Module
    spatial_encoder: Encoder

    @property
    def frames_per_feature(self) -> int | None:
        """Frames that make one vector; none where frames are chosen from the whole clip."""
        return self.config.tubelet_size[0] if self.config.num_sampled_frames is None else None

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        return self.encode_time(self.encode_frames(clip))

    def encode_frames(self, clip: Float[Tensor, "B C T H W"]) -> FrameFeatures:
        """The per-frame stage: one vector ``[D]`` per time index, independent of every other time index."""
        return FrameFeatures(vectors=encode_each_time_index(self.tokenizer, self.spatial_encoder, clip))

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the vectors of consecutive time indices."""
        raise NotImplementedError


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
        )
        self.pre_logits, self.head = make_head(config)

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the vectors of consecutive time indices."""
        x, valid = features.vectors, features.valid  # B n_t D
        x = self.temporal_encoder(x, (x.shape[1], 1, 1), valid)  # B n_t(+1) D
        x = self.temporal_encoder.pool(x, valid)  # B D
        return self.head(self.pre_logits(x))  # B K


class ViViTAveragePool(TwoStageViViT):
    """The baseline of Table 2: Model 2's spatial encoder, its vectors averaged over time; blind to their order."""

    def __init__(self, config: ViViTConfig) -> None:
        super().__init__()
        self.config = config
        _, n_h, n_w = config.grid
        self.tokenizer = make_tokenizer(config)
        self.spatial_encoder = make_encoder(config, (1, n_h, n_w))
        self.pre_logits, self.head = make_head(config)

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: the plain mean over time, whatever ``global_pool`` is."""
        x = pool_tokens(features.vectors, "avg", features.valid)  # B D
        return self.head(self.pre_logits(x))  # B K


class FactorizedViViT(nn.Module):
    """What Models 3 and 4 share: no class token, and blocks over tokens that stay on their grid."""

    def __init__(self, config: TokenPoolConfig, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config)
        self.pos_embed = PositionTable(config.grid, config.embed_dim, num_prefix=0)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.pre_logits, self.head = make_head(config)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        x, grid = self.tokenizer(clip)  # B N D
        x = self.pos_drop(x + self.pos_embed(grid))  # B N D
        x = rearrange(x, "b (t s) d -> b t s d", t=grid[0])  # B n_t n_s D
        for block in self.blocks:
            x = block(x)  # B n_t n_s D
        x = pool_tokens(self.norm(x).flatten(1, 2), self.config.global_pool)  # B D
        return self.head(self.pre_logits(x))  # B K


class ViViTFactorizedSelfAttention(FactorizedViViT):
    """Model 3: every block attends over space within a time index, then over time at a place."""

    def __init__(self, config: FactorizedSelfAttentionConfig) -> None:
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        options = {"order": config.attention_order, **block_options(config)}
        super().__init__(config, (FactorizedSelfAttentionBlock(drop_path=rate, **options) for rate in rates))


class ViViTFactorizedDotProduct(FactorizedViViT):
    """Model 4: in every block half of the heads attend over time and half over space."""

    def __init__(self, config: TokenPoolConfig) -> None:
        if config.num_heads % 2:
            raise ConfigError(f"Model 4 splits its heads in two halves: num_heads must be even, got {config.num_heads}")
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        super().__init__(config, (FactorizedDotProductBlock(drop_path=r, **block_options(config)) for r in rates))


def encode_each_time_index(
    tokenizer: nn.Module, spatial_encoder: Encoder, clip: Float[Tensor, "B C T H W"]
) -> Float[Tensor, "B n_t D"]:
    """The spatial encoder with shared weights on the tokens of every time index, each pooled to a vector."""
    x, (n_t, n_h, n_w) = tokenizer(clip)  # B N D
    x = rearrange(x, "b (t s) d -> b t s d", t=n_t)  # B n_t n_s D
    x = spatial_encoder(x, (1, n_h, n_w))  # B n_t n_s(+1) D
    return spatial_encoder.pool(x)  # B n_t D


def make_tokenizer(config: ViViTConfig) -> TubeletTokenizer | UniformFrameTokenizer:
    t, h, w = config.tubelet_size
    if (n := config.num_sampled_frames) is not None:
        return UniformFrameTokenizer(n, (h, w), config.in_channels, config.embed_dim, config.grid)
    return TubeletTokenizer((t, h, w), config.in_channels, config.embed_dim, config.grid)


def make_encoder(
    config: ViViTConfig,
    grid: Grid,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_ratio: float | None = None,
) -> Encoder:
    options = block_options(config)
    options["num_heads"] = num_heads or config.num_heads
    options["mlp_ratio"] = mlp_ratio or config.mlp_ratio
    rates = drop_path_schedule(config.drop_path_rate, config.depth if depth is None else depth)
    blocks = [Block(drop_path=rate, **options) for rate in rates]
    return Encoder(blocks, grid, config.embed_dim, config.global_pool, config.drop_rate, config.norm_eps)


def block_options(config: ViViTConfig) -> dict[str, Any]:
    """The constructor arguments that all three kinds of block share, named as the config's fields."""
    shared = "embed_dim num_heads mlp_ratio qkv_bias activation norm_eps drop_rate attn_drop_rate"
    return {name: getattr(config, name) for name in shared.split()}


def make_head(config: ViViTConfig) -> tuple[nn.Module, nn.Linear]:
    """The optional dense + tanh layer, and the classifier, which starts at zero."""
    width = config.representation_size or config.embed_dim
    pre_logits: nn.Module = nn.Identity()
    if config.representation_size is not None:
        pre_logits = nn.Sequential(nn.Linear(config.embed_dim, width), nn.Tanh())
    head = nn.Linear(width, config.num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return pre_logits, head
