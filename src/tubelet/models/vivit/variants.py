"""The names of the ViViTs: three letters of size, tubelets of 16 or 14 pixels and 2 frames, and which of its models."""

from __future__ import annotations

from typing import Any

from tubelet.models.family import Models
from tubelet.models.vivit.config import (
    FactorizedEncoderConfig,
    FactorizedSelfAttentionConfig,
    TokenPoolConfig,
    ViViTConfig,
)
from tubelet.models.vivit.model import (
    ViViTAveragePool,
    ViViTFactorizedDotProduct,
    ViViTFactorizedEncoder,
    ViViTFactorizedSelfAttention,
    ViViTJoint,
)

# The image backbones of the ViT family: width, blocks, heads.
TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
S: dict[str, Any] = {"embed_dim": 384, "depth": 12, "num_heads": 6}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
H14: dict[str, Any] = {**H, "tubelet_size": (2, 14, 14)}

# Model 4 needs an even number of heads, which ViT-Ti's 3 are not: 4 heads of 48 is our choice.
TI_EVEN: dict[str, Any] = {**TI, "num_heads": 4}

MODELS: Models = {
    "vivit_ti16x2_joint": (ViViTJoint, ViViTConfig, TI),
    "vivit_ti16x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, TI),
    "vivit_ti16x2_fsa": (ViViTFactorizedSelfAttention, FactorizedSelfAttentionConfig, TI),
    "vivit_ti16x2_fdp": (ViViTFactorizedDotProduct, TokenPoolConfig, TI_EVEN),
    "vivit_ti16x2_avgpool": (ViViTAveragePool, ViViTConfig, TI),
    "vivit_s16x2_joint": (ViViTJoint, ViViTConfig, S),
    "vivit_s16x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, S),
    "vivit_s16x2_fsa": (ViViTFactorizedSelfAttention, FactorizedSelfAttentionConfig, S),
    "vivit_s16x2_fdp": (ViViTFactorizedDotProduct, TokenPoolConfig, S),
    "vivit_s16x2_avgpool": (ViViTAveragePool, ViViTConfig, S),
    "vivit_b16x2_joint": (ViViTJoint, ViViTConfig, B),
    "vivit_b16x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, B),
    "vivit_b16x2_fsa": (ViViTFactorizedSelfAttention, FactorizedSelfAttentionConfig, B),
    "vivit_b16x2_fdp": (ViViTFactorizedDotProduct, TokenPoolConfig, B),
    "vivit_b16x2_avgpool": (ViViTAveragePool, ViViTConfig, B),
    "vivit_l16x2_joint": (ViViTJoint, ViViTConfig, L),
    "vivit_l16x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, L),
    "vivit_l16x2_fsa": (ViViTFactorizedSelfAttention, FactorizedSelfAttentionConfig, L),
    "vivit_l16x2_fdp": (ViViTFactorizedDotProduct, TokenPoolConfig, L),
    "vivit_l16x2_avgpool": (ViViTAveragePool, ViViTConfig, L),
    "vivit_h16x2_joint": (ViViTJoint, ViViTConfig, H),
    "vivit_h16x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, H),
    "vivit_h14x2_joint": (ViViTJoint, ViViTConfig, H14),
    "vivit_h14x2_fe": (ViViTFactorizedEncoder, FactorizedEncoderConfig, H14),
}
