"""The names of torchvision's networks, behind ``torchvision/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tubelet.models.family import Models
from tubelet.models.torchvision.config import TorchvisionConfig

if TYPE_CHECKING:
    from torch import nn

# Each on the clips that torchvision trained it on.
R3D: dict[str, Any] = {"network": "r3d_18"}
MC3: dict[str, Any] = {"network": "mc3_18"}
R2PLUS1D: dict[str, Any] = {"network": "r2plus1d_18"}
S3D: dict[str, Any] = {"network": "s3d", "num_frames": 128, "image_size": (224, 224)}
MVIT: dict[str, Any] = {"num_frames": 16, "image_size": (224, 224)}
SWIN: dict[str, Any] = {"num_frames": 32, "image_size": (224, 224)}


# Models import torch, so each is imported where it is made.
def torchvision_video() -> type[nn.Module]:
    from tubelet.models.torchvision.model import TorchvisionVideo

    return TorchvisionVideo


MODELS: Models = {
    "torchvision/r3d_18": (torchvision_video, TorchvisionConfig, R3D),
    "torchvision/mc3_18": (torchvision_video, TorchvisionConfig, MC3),
    "torchvision/r2plus1d_18": (torchvision_video, TorchvisionConfig, R2PLUS1D),
    "torchvision/s3d": (torchvision_video, TorchvisionConfig, S3D),
    "torchvision/mvit_v1_b": (torchvision_video, TorchvisionConfig, {**MVIT, "network": "mvit_v1_b"}),
    "torchvision/mvit_v2_s": (torchvision_video, TorchvisionConfig, {**MVIT, "network": "mvit_v2_s"}),
    "torchvision/swin3d_t": (torchvision_video, TorchvisionConfig, {**SWIN, "network": "swin3d_t"}),
    "torchvision/swin3d_s": (torchvision_video, TorchvisionConfig, {**SWIN, "network": "swin3d_s"}),
    "torchvision/swin3d_b": (torchvision_video, TorchvisionConfig, {**SWIN, "network": "swin3d_b"}),
}
