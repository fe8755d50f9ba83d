"""An image ViT as a ViViT of one frame: one set of names for what timm, scenic, HuggingFace and tubelet write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.model import ViViTJoint


class NoPlainViTError(CheckpointError):
    """An image network that cannot be read as a ViViT of one frame; other models may hold it as it is."""


@dataclass(frozen=True, kw_only=True)
class ImageViT:
    """Weights of an image ViT under the names of ``ViViTJoint(config)``, a ViViT of one sampled frame."""

    config: ViViTConfig
    tensors: Mapping[str, Tensor]  # without ``head.*`` where the image model has no classifier
    name: str  # where it came from, as messages and records say it
    dropped: Mapping[str, str] = field(default_factory=dict)  # tensors that have no place in it -> reason
    notes: tuple[str, ...] = ()  # what was taken for granted
    heads_unknown: bool = False  # its number of heads is not known; config.num_heads is a guess
    mean: tuple[float, ...] | None = None  # pixels it was trained on: (x / 255 - mean) / std
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None  # class names of its head, where they are known
    license: str | None = None  # of the weights, which binds what is made from them; none: not stated

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (h, w) of its position table."""
        return self.config.grid[1:]

    @property
    def has_class_token(self) -> bool:
        return self.config.global_pool == "token"

    def model(self) -> ViViTJoint:
        """The image model itself, in eval mode: ``[B, C, 1, H, W]`` -> logits (zeros where it has no classifier)."""
        model = ViViTJoint(self.config)
        model.load_state_dict({**model.state_dict(), **self.tensors})
        return model.eval()

    @property
    def sha256(self) -> str:
        return tensors_sha256(self.tensors)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def image_of_vivit(config: ViViTConfig, state: Mapping[str, Tensor], name: str) -> ImageViT:
    """A Model 1 or average pool of tubelet's own that was made for one frame."""
    tensors = {n.replace("spatial_encoder.", "encoder."): t for n, t in state.items()}
    kernel = tensors["tokenizer.proj.weight"]
    tensors["tokenizer.proj.weight"] = kernel.squeeze(2) if kernel.ndim == 5 else kernel
    fields = {f: v for f, v in vars(config).items() if f in ViViTConfig.__dataclass_fields__}
    fields |= {"num_sampled_frames": 1, "drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.0}
    fields |= {"drop_path_rescaled": True, "patch_drop_rate": 0.0}
    return ImageViT(config=ViViTConfig(**fields), tensors=tensors, name=name)
