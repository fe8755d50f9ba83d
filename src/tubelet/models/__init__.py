"""The models by name: one literal table, and the two functions that read it."""

from __future__ import annotations

from typing import Any

from torch import nn

from tubelet import config as config_io
from tubelet.errors import ConfigError, nearest
from tubelet.models.timesformer.model import TimeSformerConfig, TimeSformerDivided, TimeSformerJoint, TimeSformerSpace
from tubelet.models.torchvision.model import TorchvisionConfig, TorchvisionVideo
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Config, UniFormerV2Local, UniFormerV2LocalConfig
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
from tubelet.models.vtn.model import VTN, VTNConfig

# The image backbones of the ViT family: width, blocks, heads.
TI: dict[str, Any] = {"embed_dim": 192, "depth": 12, "num_heads": 3}
S: dict[str, Any] = {"embed_dim": 384, "depth": 12, "num_heads": 6}
B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
L: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
H14: dict[str, Any] = {**H, "tubelet_size": (2, 14, 14)}

# Model 4 needs an even number of heads, which ViT-Ti's 3 are not: 4 heads of 48 is our choice.
TI_EVEN: dict[str, Any] = {**TI, "num_heads": 4}

# Each VTN by its backbone: the timm network and what follows from its width.
VTN_DEIT_B: dict[str, Any] = {"backbone": "deit_base_patch16_224"}
VTN_DEIT_TI: dict[str, Any] = {  # 3 heads, as the backbone has, is our choice
    "backbone": "deit_tiny_patch16_224",
    "num_heads": 3,
    "head_dim": 192,
}
VTN_R50: dict[str, Any] = {"backbone": "resnet50", "num_heads": 16, "hidden_dim": 4096, "head_dim": 2048}

# UniFormerV2's sizes with CLIP's patches; Something-Something takes global blocks on two thirds of the layers.
L14: dict[str, Any] = {**L, "patch_size": 14}
L14_336: dict[str, Any] = {**L14, "image_size": (336, 336)}
L14_SSV2: dict[str, Any] = {**L14, "global_layers": 16}

# TimeSformer's larger clips: more pixels, more frames.
HR: dict[str, Any] = {"num_frames": 16, "image_size": (448, 448)}
LONG: dict[str, Any] = {"num_frames": 96}

# torchvision's networks on the clips that it trained them on.
R3D: dict[str, Any] = {"network": "r3d_18"}
MC3: dict[str, Any] = {"network": "mc3_18"}
R2PLUS1D: dict[str, Any] = {"network": "r2plus1d_18"}
S3D: dict[str, Any] = {"network": "s3d", "num_frames": 128, "image_size": (224, 224)}
MVIT: dict[str, Any] = {"num_frames": 16, "image_size": (224, 224)}
SWIN: dict[str, Any] = {"num_frames": 32, "image_size": (224, 224)}

# name: (model class, config class, fields that differ from the config's defaults)
MODELS: dict[str, tuple[type[nn.Module], type, dict[str, Any]]] = {
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
    "timesformer_ti16_divided": (TimeSformerDivided, TimeSformerConfig, TI),  # the paper has B only: the size is ViT's
    "timesformer_ti16_joint": (TimeSformerJoint, TimeSformerConfig, TI),
    "timesformer_ti16_space": (TimeSformerSpace, TimeSformerConfig, TI),
    "timesformer_b16_divided": (TimeSformerDivided, TimeSformerConfig, B),
    "timesformer_b16_joint": (TimeSformerJoint, TimeSformerConfig, B),
    "timesformer_b16_space": (TimeSformerSpace, TimeSformerConfig, B),
    "timesformer_b16_hr": (TimeSformerDivided, TimeSformerConfig, {**B, **HR}),
    "timesformer_b16_l": (TimeSformerDivided, TimeSformerConfig, {**B, **LONG}),
    "uniformerv2_ti16": (UniFormerV2, UniFormerV2Config, TI),  # the paper has no Ti: its size is ViT's
    "uniformerv2_ti16_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, TI),
    "uniformerv2_b16": (UniFormerV2, UniFormerV2Config, B),
    "uniformerv2_b16_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, B),
    "uniformerv2_l14": (UniFormerV2, UniFormerV2Config, L14),
    "uniformerv2_l14_ssv2": (UniFormerV2Local, UniFormerV2LocalConfig, L14_SSV2),
    "uniformerv2_l14_336": (UniFormerV2, UniFormerV2Config, L14_336),
    "vtn_vit_b16": (VTN, VTNConfig, {}),
    "vtn_deit_b16": (VTN, VTNConfig, VTN_DEIT_B),
    "vtn_deit_ti16": (VTN, VTNConfig, VTN_DEIT_TI),
    "vtn_r50": (VTN, VTNConfig, VTN_R50),
    "vtn_r101": (VTN, VTNConfig, {**VTN_R50, "backbone": "resnet101"}),
    "torchvision/r3d_18": (TorchvisionVideo, TorchvisionConfig, R3D),
    "torchvision/mc3_18": (TorchvisionVideo, TorchvisionConfig, MC3),
    "torchvision/r2plus1d_18": (TorchvisionVideo, TorchvisionConfig, R2PLUS1D),
    "torchvision/s3d": (TorchvisionVideo, TorchvisionConfig, S3D),
    "torchvision/mvit_v1_b": (TorchvisionVideo, TorchvisionConfig, {**MVIT, "network": "mvit_v1_b"}),
    "torchvision/mvit_v2_s": (TorchvisionVideo, TorchvisionConfig, {**MVIT, "network": "mvit_v2_s"}),
    "torchvision/swin3d_t": (TorchvisionVideo, TorchvisionConfig, {**SWIN, "network": "swin3d_t"}),
    "torchvision/swin3d_s": (TorchvisionVideo, TorchvisionConfig, {**SWIN, "network": "swin3d_s"}),
    "torchvision/swin3d_b": (TorchvisionVideo, TorchvisionConfig, {**SWIN, "network": "swin3d_b"}),
}


def create_model(name: str, **options: Any) -> nn.Module:
    """A model with fresh weights: ``create_model("vivit_b16x2_joint", num_classes=174)``.

    Every field of the model's config is accepted as a keyword.

    Raises:
        ConfigError: an unknown name or field (the nearest is named), or a value that does not fit.
    """
    model_class, _, _ = _entry(name)
    return model_class(model_config(name, options))


def model_config(name: str, options: dict[str, Any] | None = None) -> Any:
    """The frozen config dataclass of a named model, with ``options`` over the name's own fields."""
    _, config_class, fields = _entry(name)
    return config_io.from_dict(config_class, {**fields, **(options or {})}, where=name)


def list_models(contains: str = "") -> list[str]:
    """The names ``create_model`` knows, optionally those that contain a text."""
    return [name for name in MODELS if contains in name]


def _entry(name: str) -> tuple[type[nn.Module], type, dict[str, Any]]:
    if name not in MODELS:
        raise ConfigError(f"unknown model '{name}'{nearest(name, MODELS)} (`tubelet models` lists them)")
    return MODELS[name]
