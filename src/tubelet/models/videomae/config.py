"""What a VideoMAE is made from, checked.

Sources: "VideoMAE" (arXiv 2203.12602), MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_finetune.py`` and
``modeling_pretrain.py``; "VideoMAE V2" (arXiv 2303.16727), OpenGVLab/VideoMAEv2, commit 29eab1e8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import Activation, Grid, Remainder


@dataclass(frozen=True, kw_only=True)
class VideoMAEConfig:
    """The defaults are VideoMAE-B (ViT-B/16, 16 frames of 224 x 224) fine-tuned on Kinetics-400."""

    num_classes: int = 400  # width of the logits; 0: no classifier, forward gives pooled vectors
    in_channels: int = 3  # channels of the clip
    num_frames: int = 16  # frames that the weights were trained with
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the weights were trained with
    tubelet_size: tuple[int, int, int] = (2, 16, 16)  # frames, height and width in pixels
    embed_dim: int = 768  # width of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # attention heads per block
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    qkv_bias: bool = True  # bias of queries and values; keys have none
    activation: Activation = "gelu"  # exact GELU as in the original, or its tanh approximation
    norm_eps: float = 1e-6  # epsilon of the LayerNorms of blocks and tokens
    head_norm_eps: float = 1e-6  # epsilon of the LayerNorm of the pooled vector
    global_pool: Literal["avg", "first"] = "avg"  # mean of the tokens, or the first one; there is no class token
    final_norm: Literal["pooled", "tokens"] = "pooled"  # what it normalizes; tokens: as in pre-training
    other_grid: Literal["computed", "interpolated"] = "computed"  # position table of a grid not trained with
    drop_rate: float = 0.0  # dropout after positions, projections and MLP layers
    attn_drop_rate: float = 0.0  # dropout on attention weights
    drop_path_rate: float = 0.0  # stochastic depth of the last block; grows linearly from 0 at the first
    head_drop_rate: float = 0.0  # dropout before the classifier
    remainder: Remainder = "refuse"  # frames and pixels at the end that fill no tubelet: an error, or left out

    def __post_init__(self) -> None:
        for name in ("in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must not be negative, got {self.num_classes}")
        for size, patch, name in zip((self.num_frames, *self.image_size), self.tubelet_size, "thw", strict=True):
            if patch <= 0 or size < patch or (size % patch and self.remainder == "refuse"):
                raise ConfigError(
                    f"tubelet_size {name}={patch} does not divide {size} (num_frames, image_size); choose a "
                    "divisor, or remainder drop"
                )
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if self.embed_dim % 2:
            raise ConfigError(f"embed_dim must be even for sines and cosines, got {self.embed_dim}")
        if self.global_pool == "first" and self.final_norm == "pooled":
            raise ConfigError("global_pool=first takes the first of the normalized tokens: set final_norm to tokens")
        if self.head_drop_rate and not self.num_classes:
            raise ConfigError("head_drop_rate has no effect without a classifier (num_classes 0); leave it out")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate", "head_drop_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name):g}")

    @property
    def grid(self) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip of ``num_frames`` x ``image_size``."""
        t, h, w = self.tubelet_size
        return self.num_frames // t, self.image_size[0] // h, self.image_size[1] // w


@dataclass(frozen=True, kw_only=True)
class VideoMAEDecoderConfig:
    """The decoder of the pre-training model; the defaults are those of VideoMAE-B's scripts."""

    embed_dim: int = 384  # width of a token
    depth: int = 4  # blocks
    num_heads: int = 6  # attention heads per block
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    norm_eps: float = 1e-6  # epsilon of the LayerNorm before the last layer; blocks have the encoder's

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "mlp_ratio"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"decoder {name} must be positive, got {getattr(self, name)}")
        if self.embed_dim % self.num_heads or self.embed_dim % 2:
            raise ConfigError(
                f"decoder embed_dim {self.embed_dim} must be even and divisible by num_heads {self.num_heads}"
            )
