"""The names of the ViViTs: three letters of size, tubelets of 16 or 14 pixels and 2 frames, and which of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.vivit.config import (
    FactorizedEncoderConfig,
    FactorizedSelfAttentionConfig,
    TokenPoolConfig,
    ViViTConfig,
)

if TYPE_CHECKING:
    from torch import nn

# The image backbones of the ViT family: width, blocks, heads.
TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
S: dict[str, Any] = {"embed_dim": 384, "depth": 12, "num_heads": 6}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
H14: dict[str, Any] = {**H, "tubelet_size": (2, 14, 14)}

# Model 4 needs an even number of heads, which ViT-Ti's 3 are not: 4 heads of 48 is our choice.
TI_EVEN: dict[str, Any] = {**TI, "num_heads": 4}


# Models import torch, so each is imported where it is made.
def joint() -> type[nn.Module]:
    from tubelet.models.vivit.model import ViViTJoint

    return ViViTJoint


def factorized_encoder() -> type[nn.Module]:
    from tubelet.models.vivit.model import ViViTFactorizedEncoder

    return ViViTFactorizedEncoder


def factorized_self_attention() -> type[nn.Module]:
    from tubelet.models.vivit.model import ViViTFactorizedSelfAttention

    return ViViTFactorizedSelfAttention


def factorized_dot_product() -> type[nn.Module]:
    from tubelet.models.vivit.model import ViViTFactorizedDotProduct

    return ViViTFactorizedDotProduct


def average_pool() -> type[nn.Module]:
    from tubelet.models.vivit.model import ViViTAveragePool

    return ViViTAveragePool


MODELS: Models = {
    "vivit_ti16x2_joint": (joint, ViViTConfig, TI),
    "vivit_ti16x2_fe": (factorized_encoder, FactorizedEncoderConfig, TI),
    "vivit_ti16x2_fsa": (factorized_self_attention, FactorizedSelfAttentionConfig, TI),
    "vivit_ti16x2_fdp": (factorized_dot_product, TokenPoolConfig, TI_EVEN),
    "vivit_ti16x2_avgpool": (average_pool, ViViTConfig, TI),
    "vivit_s16x2_joint": (joint, ViViTConfig, S),
    "vivit_s16x2_fe": (factorized_encoder, FactorizedEncoderConfig, S),
    "vivit_s16x2_fsa": (factorized_self_attention, FactorizedSelfAttentionConfig, S),
    "vivit_s16x2_fdp": (factorized_dot_product, TokenPoolConfig, S),
    "vivit_s16x2_avgpool": (average_pool, ViViTConfig, S),
    "vivit_b16x2_joint": (joint, ViViTConfig, B),
    "vivit_b16x2_fe": (factorized_encoder, FactorizedEncoderConfig, B),
    "vivit_b16x2_fsa": (factorized_self_attention, FactorizedSelfAttentionConfig, B),
    "vivit_b16x2_fdp": (factorized_dot_product, TokenPoolConfig, B),
    "vivit_b16x2_avgpool": (average_pool, ViViTConfig, B),
    "vivit_l16x2_joint": (joint, ViViTConfig, L),
    "vivit_l16x2_fe": (factorized_encoder, FactorizedEncoderConfig, L),
    "vivit_l16x2_fsa": (factorized_self_attention, FactorizedSelfAttentionConfig, L),
    "vivit_l16x2_fdp": (factorized_dot_product, TokenPoolConfig, L),
    "vivit_l16x2_avgpool": (average_pool, ViViTConfig, L),
    "vivit_h16x2_joint": (joint, ViViTConfig, H),
    "vivit_h16x2_fe": (factorized_encoder, FactorizedEncoderConfig, H),
    "vivit_h14x2_joint": (joint, ViViTConfig, H14),
    "vivit_h14x2_fe": (factorized_encoder, FactorizedEncoderConfig, H14),
}
