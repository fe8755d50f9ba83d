"""What a VideoPrism is made from, checked.

Source: "VideoPrism: A Foundational Visual Encoder for Video Understanding" (arXiv 2402.13217) and its official code,
google-deepmind/videoprism, commit d481d91b, ``videoprism/models.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError
from tubelet.types import Grid, Remainder


@dataclass(frozen=True, kw_only=True)
class VideoPrismConfig:
    """The defaults are VideoPrism-B (16 frames of 288 x 288) with a classifier for Kinetics-400."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 16  # frames that the table of times is made for (the large model: 8); any number may enter
    image_size: tuple[int, int] = (288, 288)  # height and width in pixels that the table of places is made for
    patch_size: int = 18  # height and width of a patch in pixels
    embed_dim: int = 768  # width of a token
    depth: int = 12  # blocks of the encoder over space
    temporal_depth: int = 4  # blocks of the encoder over time
    num_heads: int = 12  # attention heads per block and of the pooling
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    soft_cap: float = 50.0  # scores of attention stay below it, but those of the pooling
    norm_eps: float = 1e-6  # epsilon of every LayerNorm
    pool_dim: int | None = None  # width of the pooling's queries, keys and values; None means the original's
    drop_path_rate: float = 0.0  # stochastic depth of the last block of either encoder; 0 at the first
    remainder: Remainder = "refuse"  # pixels at the end that fill no patch: an error, or left out

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        positive = ("in_channels", "num_frames", "patch_size", "embed_dim", "depth", "temporal_depth")
        for name in (*positive, "num_heads", "mlp_ratio", "soft_cap", "pool_width"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for size, name in zip(self.image_size, ("height", "width"), strict=True):
            if size < self.patch_size or (size % self.patch_size and self.remainder == "refuse"):
                raise ConfigError(
                    f"patch_size {self.patch_size} does not divide image_size's {name} {size}; choose a divisor, or "
                    "remainder drop"
                )
        for name in ("embed_dim", "pool_width"):
            if getattr(self, name) % self.num_heads:
                raise ConfigError(f"{name} {getattr(self, name)} is not divisible by num_heads {self.num_heads}")
        if not 0 <= self.drop_path_rate < 1:
            raise ConfigError(f"drop_path_rate must lie in [0, 1), got {self.drop_path_rate:g}")

    @property
    def pool_width(self) -> int:
        """The pooling's width: that of a token in the original classifier."""
        return self.embed_dim if self.pool_dim is None else self.pool_dim

    @property
    def grid(self) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip of ``num_frames`` x ``image_size``."""
        return self.grid_of((self.num_frames, *self.image_size))

    def grid_of(self, clip_size: Grid) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip (T, H, W)."""
        return clip_size[0], clip_size[1] // self.patch_size, clip_size[2] // self.patch_size


@dataclass(frozen=True, kw_only=True)
class VideoTowerConfig(VideoPrismConfig):
    """The video side of the video-text model: blocks over all tokens, and a pooling four times as wide."""

    auxiliary_depth: int = 2  # blocks over all tokens, between encoder and pooling

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auxiliary_depth <= 0:
            raise ConfigError(f"auxiliary_depth must be positive, got {self.auxiliary_depth}")

    @property
    def pool_width(self) -> int:
        """The pooling's width: four times that of a token in the original."""
        return 4 * self.embed_dim if self.pool_dim is None else self.pool_dim
