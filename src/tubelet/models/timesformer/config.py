"""What a TimeSformer is made from, checked.

Source: "Is Space-Time Attention All You Need for Video Understanding?" (arXiv 2102.05095) and its official code,
facebookresearch/TimeSformer, commit a5ef29a7, ``configs/``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError
from tubelet.types import Activation, Remainder, added


@dataclass(frozen=True, kw_only=True)
class TimeSformerConfig:
    """The defaults are TimeSformer (ViT-B/16, 8 frames of 224 x 224) on Kinetics-400."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 8  # frames that the table of times is made for; any number may enter
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the table of places is made for
    patch_size: int = 16  # height and width of a patch in pixels
    embed_dim: int = 768  # width of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # attention heads per block
    mlp_ratio: float = 4.0  # hidden width of the MLP over embed_dim
    qkv_bias: bool = True  # bias in the query, key and value projections
    activation: Activation = "gelu"  # exact GELU as in the original, or its tanh approximation
    norm_eps: float = 1e-6  # epsilon of every LayerNorm
    drop_rate: float = 0.0  # dropout after positions, projections and MLP layers
    attn_drop_rate: float = 0.0  # dropout on attention weights
    drop_path_rate: float = 0.1  # stochastic depth of the last block; grows linearly from 0 at the first
    remainder: Remainder = added("refuse")  # pixels at the end that fill no patch: an error, or left out

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        positive = ("in_channels", "num_frames", "patch_size", "embed_dim", "depth", "mlp_ratio")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for size, name in zip(self.image_size, ("height", "width"), strict=True):
            if size < self.patch_size or (size % self.patch_size and self.remainder == "refuse"):
                raise ConfigError(
                    f"patch_size {self.patch_size} does not divide image_size's {name} {size}; choose a divisor, or "
                    "remainder drop"
                )
        if self.num_heads <= 0 or self.embed_dim % self.num_heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (h, w) of a frame of ``image_size``."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size
