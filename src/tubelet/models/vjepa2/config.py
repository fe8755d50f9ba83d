"""What a V-JEPA 2 is made from, checked.

Source: "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning" (arXiv 2506.09985),
facebookresearch/vjepa2, commit c2963a47, ``src/models`` and ``configs/eval``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError
from tubelet.types import Activation, Grid, Remainder

_MIN_HEAD_DIM = 6  # narrower heads have no channels to turn


@dataclass(frozen=True, kw_only=True)
class VJEPA2Config:
    """The defaults are V-JEPA 2 L/16 at 256 pixels with the probe of Something-Something V2."""

    num_classes: int = 174  # width of the logits; 0: no probe, forward gives the mean of the tokens
    in_channels: int = 3  # channels of the clip
    num_frames: int = 64  # of a clip that the weights were trained with; any number that fills tubelets may enter
    image_size: tuple[int, int] = (256, 256)  # height and width in pixels that the weights were trained with
    tubelet_size: tuple[int, int, int] = (2, 16, 16)  # frames, height and width in pixels
    embed_dim: int = 1024  # width of a token
    depth: int = 24  # blocks of the encoder
    num_heads: int = 16  # attention heads per block of the encoder
    mlp_ratio: float = 4.0  # hidden width of the encoder's MLP over embed_dim; the probe's is always 4
    qkv_bias: bool = True  # bias in the encoder's query, key and value projections
    activation: Activation = "gelu"  # exact GELU as in the original, or its tanh approximation
    norm_eps: float = 1e-6  # epsilon of the encoder's LayerNorms
    out_layers: tuple[int, ...] = ()  # blocks whose tokens the probe reads, from 0; empty means the last one's
    num_segments: int = 1  # equal parts of a clip in time, as protocol.num_segments, encoded apart and pooled at once
    pooler_depth: int = 4  # blocks of the probe, the last of which pools
    pooler_num_heads: int = 16  # attention heads per block of the probe, whatever the encoder has
    pooler_norm_eps: float = 1e-5  # epsilon of the probe's LayerNorms
    drop_rate: float = 0.0  # dropout after projections and MLP layers of the encoder
    attn_drop_rate: float = 0.0  # dropout on the encoder's attention weights
    drop_path_rate: float = 0.0  # stochastic depth of the encoder's last block; grows linearly from 0 at the first
    repeat_image: bool = False  # a clip of one frame is shown for a whole tubelet, as in transformers; false: refused
    remainder: Remainder = "refuse"  # frames and pixels at the end that fill no tubelet: an error, or left out

    def __post_init__(self) -> None:
        positive = ("in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio", "num_segments", "pooler_depth")
        for name in (*positive, "pooler_num_heads"):
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
        for name in ("num_heads", "pooler_num_heads") if self.num_classes else ("num_heads",):
            if self.embed_dim % getattr(self, name):
                raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by {name} {getattr(self, name)}")
        if self.embed_dim // self.num_heads < _MIN_HEAD_DIM:
            raise ConfigError(
                f"heads of {self.embed_dim // self.num_heads} channels have none to turn for each of three axes: "
                f"give num_heads of at most {self.embed_dim // _MIN_HEAD_DIM}"
            )
        self._check_levels()
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name):g}")

    def _check_levels(self) -> None:
        layers = self.out_layers
        if list(layers) != sorted(set(layers)) or any(not 0 <= layer < self.depth for layer in layers):
            raise ConfigError(f"out_layers must be ascending blocks from 0 to {self.depth - 1}, got {layers}")
        if layers and not self.num_classes:
            raise ConfigError("out_layers are what a probe reads; without one (num_classes 0) leave them out")
        if self.num_segments > 1 and not self.num_classes:
            raise ConfigError("num_segments are pooled by a probe; without one (num_classes 0) leave them out")

    @property
    def grid(self) -> Grid:
        """Tokens (n_t, n_h, n_w) of a clip of ``num_frames`` x ``image_size``."""
        t, h, w = self.tubelet_size
        return self.num_frames // t, self.image_size[0] // h, self.image_size[1] // w


@dataclass(frozen=True, kw_only=True)
class VJEPA21Config(VJEPA2Config):
    """V-JEPA 2.1: several levels with a norm each. Unproven: built from a reading of its code, never compared."""

    norm_layers: tuple[int, ...] = ()  # blocks with a norm behind them, from 0; empty means every fourth of the depth

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = self.levels
        if list(levels) != sorted(set(levels)) or levels[0] < 0 or levels[-1] != self.depth - 1:
            raise ConfigError(f"norm_layers must be ascending and end with the last block, got {levels}")
        if not set(self.out_layers) <= set(levels):
            raise ConfigError(f"out_layers {self.out_layers} must be among the blocks with a norm, {levels}")

    @property
    def levels(self) -> tuple[int, ...]:
        """The blocks with a norm behind them."""
        quarters = sorted({max(0, (k + 1) * self.depth // 4 - 1) for k in range(4)})
        return self.norm_layers or tuple(quarters)


@dataclass(frozen=True, kw_only=True)
class VJEPA2PredictorConfig:
    """The predictor of pre-training; the defaults are those of all released models."""

    embed_dim: int = 384  # width of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # attention heads per block
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    num_mask_tokens: int = 10  # learned tokens that stand for what is to be predicted
    norm_eps: float = 1e-6  # epsilon of every LayerNorm

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "mlp_ratio", "num_mask_tokens"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"predictor {name} must be positive, got {getattr(self, name)}")
        if self.embed_dim % self.num_heads or self.embed_dim // self.num_heads < _MIN_HEAD_DIM:
            raise ConfigError(
                f"predictor embed_dim {self.embed_dim} must be divisible by num_heads {self.num_heads}, and a head at "
                f"least {_MIN_HEAD_DIM} wide"
            )
