"""What a ViViT is made from: the fields of every variant, checked.

Source: "ViViT: A Video Vision Transformer" (arXiv 2103.15691) and google-research/scenic, commit 4a38d475,
``projects/vivit/configs``; ``patch_drop_rate`` is timm's, which the paper does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import Activation, AxisOrder, GlobalPool, Grid, Remainder, added

# How a tubelet's frames enter its token: each with weights of its own (the paper); so, from weights that are zero but
# for the central frame; or as the mean of the frames.
TubeletFrames = Literal["learned", "central_first", "averaged"]


@dataclass(frozen=True, kw_only=True)
class ViViTConfig:
    """Fields common to all ViViT models; the defaults are ViViT-B/16x2 on Kinetics-400."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 32  # frames that the position table is made for
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the position table is made for
    tubelet_size: tuple[int, int, int] = (2, 16, 16)  # frames, height and width in pixels
    tubelet_frames: TubeletFrames = "learned"  # weights over a tubelet's frames; or start at its center; or their mean
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
    drop_path_rescaled: bool = True  # what survives is divided by its chance to, as in timm; false: as in the original
    patch_drop_rate: float = 0.0  # share of places that a video is trained without, at all its time indices alike
    remainder: Remainder = added("refuse")  # frames and pixels at the end that fill no tubelet: an error, or left out

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        for name in ("in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for size, patch, name in zip((self.num_frames, *self.image_size), self.tubelet_size, "thw", strict=True):
            if patch <= 0 or size < patch or (size % patch and self.remainder == "refuse"):
                raise ConfigError(
                    f"tubelet_size {name}={patch} does not divide {size} (num_frames, image_size); choose a "
                    "divisor, or remainder drop"
                )
        if self.num_sampled_frames is not None and self.tubelet_size[0] != 1:
            raise ConfigError(
                f"uniform frame sampling (num_sampled_frames={self.num_sampled_frames}) cuts single frames: "
                f"set tubelet_size to (1, h, w), got {self.tubelet_size}"
            )
        if self.tubelet_frames != "learned" and self.tubelet_size[0] == 1:
            raise ConfigError(f"tubelet_frames='{self.tubelet_frames}' needs tubelets of more than one frame")
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        self._check_regularization()

    def _check_regularization(self) -> None:
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate", "patch_drop_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name):g}")
        if not self.drop_path_rescaled and not self.drop_path_rate:
            raise ConfigError("drop_path_rescaled=false has no effect while drop_path_rate is 0; set it, or leave both")
        if self.patch_drop_rate and self.global_pool in ("first", "sum"):
            raise ConfigError(
                f"patch_drop_rate leaves out tokens that global_pool='{self.global_pool}' needs in training as in "
                "evaluation; use token, avg or max"
            )

    @property
    def has_image_kernel(self) -> bool:
        """Whether patches are cut from single frames, by the 2-D kernel of an image model."""
        return self.num_sampled_frames is not None or self.tubelet_frames == "averaged"

    @property
    def pre_logits_width(self) -> int:
        """Width of the vector that the head takes."""
        return self.representation_size or self.embed_dim

    @property
    def grid(self) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip of ``num_frames`` x ``image_size``."""
        return self.grid_of((self.num_frames, *self.image_size))

    def grid_of(self, clip_size: Grid) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip (T, H, W)."""
        n_t, n_h, n_w = (a // b for a, b in zip(clip_size, self.tubelet_size, strict=True))
        return n_t if self.num_sampled_frames is None else min(n_t, self.num_sampled_frames), n_h, n_w


@dataclass(frozen=True, kw_only=True)
class FactorizedEncoderConfig(ViViTConfig):
    """Model 2: the second encoder over time. Both encoders have the same width."""

    temporal_depth: int = 4  # blocks of the temporal encoder
    temporal_num_heads: int | None = None  # None means num_heads
    temporal_mlp_ratio: float | None = None  # None means mlp_ratio

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
