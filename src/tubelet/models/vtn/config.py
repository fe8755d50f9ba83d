"""What a VTN is made from, checked.

Source: "Video Transformer Network" (arXiv 2102.00719) and its official code, bomri/SlowFast, commit 00a68201,
``configs/Kinetics`` and ``slowfast/config/defaults.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from tubelet.errors import ConfigError

DEFAULT_HEADS = 12  # of the released models, where their width allows it
_OF_LONGFORMER = ("attention_window", "hidden_dim", "positions", "num_positions")
_OF_ENCODER = ("depth", "num_heads", *_OF_LONGFORMER, "norm_eps")
_HEAD_DIM = 64  # channels of a head, about, where it does not


@dataclass(frozen=True, kw_only=True)
class VTNConfig:
    """The defaults are the released ViT-B-VTN on Kinetics-400."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 16  # frames of a training clip; any number may enter
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the backbone is made for
    backbone: str = "vit_base_patch16_224"  # any image network of timm
    backbone_fields: dict[str, Any] = field(default_factory=dict)  # arguments of that network other than timm's own
    freeze_backbone: bool = False  # eval mode, no gradient, no activation kept
    embed_dim: int | None = None  # width of the encoder; None means the backbone's, without a projection
    # Attention to neighbors and class token, to every frame, or the mean of all frames (nothing to learn in weighing).
    # attentive is V-JEPA 2's probe over the frames: depth - 1 blocks without positions, then one query that pools.
    # mean and mean_std are no encoder: the frames' vectors are averaged, with the deviation of each channel behind.
    encoder: Literal["longformer", "full", "uniform", "attentive", "mean", "mean_std"] = "longformer"
    depth: int = 3  # layers of the encoder
    num_heads: int = DEFAULT_HEADS  # attention heads per layer; 12 gives way to a divisor of the encoder's width
    attention_window: tuple[int, ...] = (18,)  # neighbors a frame sees, both sides together; one for all, or per layer
    hidden_dim: int = 3072  # width of the encoder's feed-forward layers
    positions: Literal["learned", "fixed", "none"] = "learned"  # of frame numbers: table, sine and cosine, or nothing
    num_positions: int = 288  # rows of the table: frame numbers modulo (rows - 2), class token, padding
    frame_step: int = 8  # source frames between the frames of a clip, where their numbers are not given
    head_dim: int | None = 768  # hidden width of the MLP head; None means one linear layer
    drop_rate: float = 0.1  # dropout in the encoder
    attn_drop_rate: float = 0.1  # dropout on the encoder's attention weights
    head_drop_rate: float = 0.5  # dropout in the MLP head
    norm_eps: float = 1e-12  # epsilon of the encoder's LayerNorms

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        for name in ("in_channels", "num_frames", "depth", "num_heads", "hidden_dim", "frame_step"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if len(self.attention_window) not in (1, self.depth):
            raise ConfigError(
                f"attention_window has {len(self.attention_window)} values; expected one, or one for each of "
                f"{self.depth} layers"
            )
        if any(w <= 0 or w % 2 for w in self.attention_window):
            raise ConfigError(f"attention_window must be positive and even, got {self.attention_window}")
        if self.encoder == "uniform" and self.attn_drop_rate:
            raise ConfigError("encoder 'uniform' has no attention weights to drop: set attn_drop_rate to 0")
        if self.encoder in ("mean", "mean_std"):
            self._refuse(_OF_ENCODER, "has no layers")
        if self.encoder == "attentive":
            self._refuse(_OF_LONGFORMER, "has neither windows nor positions")
        if self.num_positions < 3:
            raise ConfigError(f"num_positions must be 3 or more (frame, class, padding), got {self.num_positions}")

    def _refuse(self, fields: tuple[str, ...], why: str) -> None:
        """Refuse those of the fields that are given and would say nothing."""
        given = [name for name in fields if getattr(self, name) != getattr(type(self), name)]
        if given:
            raise ConfigError(f"encoder '{self.encoder}' {why}: leave out {', '.join(given)}")

    def heads_for(self, width: int) -> int:
        """Attention heads of an encoder of this width: ``num_heads``, or a divisor where the default is none.

        Raises:
            ConfigError: ``num_heads`` does not divide it.
        """
        if width % self.num_heads == 0:
            return self.num_heads
        if self.num_heads == DEFAULT_HEADS:
            return math.gcd(width, max(1, width // _HEAD_DIM))
        raise ConfigError(
            f"the encoder's width {width} is not divisible by num_heads {self.num_heads}: set num_heads to a "
            "divisor of it, or embed_dim to a multiple of num_heads"
        )
