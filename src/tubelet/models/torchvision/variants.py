"""The names of torchvision's networks, behind ``torchvision/``."""

from __future__ import annotations

from typing import Any

from tubelet.models.family import Models
from tubelet.models.torchvision.config import TorchvisionConfig
from tubelet.models.torchvision.model import TorchvisionVideo

# Each on the clips that torchvision trained it on.
R3D: dict[str, Any] = {"network": "r3d_18"}
MC3: dict[str, Any] = {"network": "mc3_18"}
R2PLUS1D: dict[str, Any] = {"network": "r2plus1d_18"}
S3D: dict[str, Any] = {"network": "s3d", "num_frames": 128, "image_size": (224, 224)}
MVIT: dict[str, Any] = {"num_frames": 16, "image_size": (224, 224)}
SWIN: dict[str, Any] = {"num_frames": 32, "image_size": (224, 224)}

MODELS: Models = {
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
