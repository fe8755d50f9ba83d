"""Small image ViTs of timm, HuggingFace and flax with random weights, as their own libraries compute them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tubelet.models.uniformerv2.from_image import from_image_tensors
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.from_image import from_image
from tubelet.models.vivit.model import ViViTJoint
from tubelet.weights.config import InitConfig
from tubelet.weights.init.canonical import canonical
from tubelet.weights.mapping.image_model import ImageFacts
from tubelet.weights.mapping.plain_vit import PlainViT, plain_vit
from tubelet.weights.mapping.rules import MappingReport

ARCHITECTURE = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}
# The same sizes in fields of a ViViT.
SIZES: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 4, "image_size": (16, 24)}


def randomized(model: Any) -> Any:
    """Every parameter random, so that none that is forgotten goes unseen; in eval mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.05)
    return model.eval()


def timm_vit(**options: Any) -> Any:
    return randomized(timm.create_model(ARCHITECTURE, **{**SMALL, "num_classes": 5, **options}))


def timm_folder(path: Path, model: nn.Module, **options: Any) -> Path:
    """A folder as timm's own files on the hub are."""
    path.mkdir()
    save_file(model.state_dict(), path / "model.safetensors")
    content = {
        "architecture": ARCHITECTURE,
        "num_classes": 5,
        "model_args": {**SMALL, **options},
        "pretrained_cfg": {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
    }
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def video_model(kind: str, **options: Any) -> Any:
    """A ViViT of the image models' sizes, with activation and epsilon of timm's."""
    from tubelet.models import create_model

    fields = {"num_classes": 3, "num_frames": 6, "tubelet_size": (2, 8, 8), "activation": "gelu", **SIZES, **options}
    return create_model(f"vivit_ti16x2_{kind}", **fields).eval()


def flax_image(**options: Any) -> ViViTJoint:
    """A ViViT of one frame, whose parameters under scenic's names are an image ViT of scenic's."""
    fields = {"num_classes": 5, "num_frames": 1, "num_sampled_frames": 1, "tubelet_size": (1, 8, 8), **SIZES}
    model: ViViTJoint = randomized(ViViTJoint(ViViTConfig(**{**fields, **options})))
    return model


def pictures(batch: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, 16, 24)


def still(pictures: Tensor, num_frames: int) -> Tensor:
    """Clips [B, C, T, H, W] in which nothing moves."""
    return pictures.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)


def clip_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's CLIP tower under OpenAI's names, which are also those of open_clip."""
    names = {
        "patch_embed.proj.weight": "conv1.weight",
        "norm_pre.": "ln_pre.",
        "norm.": "ln_post.",
        "blocks.": "transformer.resblocks.",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj.": "attn.out_proj.",
        "norm1.": "ln_1.",
        "norm2.": "ln_2.",
        "mlp.fc1.": "mlp.c_fc.",
        "mlp.fc2.": "mlp.c_proj.",
    }
    renamed = {"class_embedding": state["cls_token"].flatten(), "positional_embedding": state["pos_embed"][0]}
    for name, tensor in state.items():
        if name in ("cls_token", "pos_embed") or name.startswith("head."):
            continue
        for old, new in names.items():
            name = name.replace(old, new) if not (old == "norm." and "norm_pre" in name) else name
        renamed[name] = tensor
    return {**renamed, "proj": torch.randn(48, 8)}


def image_vit(
    weights: dict[str, Tensor],
    name: str,
    fields: dict[str, Any] | None = None,
    image_grid: tuple[int, int] | None = None,
) -> PlainViT:
    """The plain ViT that tensors of any library are."""
    return plain_vit(canonical(weights, name, ImageFacts(**(fields or {}), grid=image_grid)), "ViViT")


def from_image_model(
    weights: dict[str, Tensor], model: Any, image_grid: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], MappingReport]:
    """A UniFormerV2's first weights from tensors of any library, whatever the sizes say."""
    image = canonical(weights, "image model", ImageFacts(grid=image_grid))
    state, report = from_image_tensors(image.tensors, model, image.facts.grid)
    dropped = {**image.dropped, **report.dropped}
    return state, replace(report, dropped=dropped, notes=(*image.notes, *report.notes))


def one_frame_model(image: PlainViT) -> ViViTJoint:
    """The image model itself as a ViViT of one frame, in eval mode; without a classifier, its logits are zeros."""
    has_head = "head.weight" in image.tensors
    config = ViViTConfig(
        num_classes=len(image.tensors["head.weight"]) if has_head else 1,
        in_channels=image.in_channels,
        num_frames=1,
        num_sampled_frames=1,
        tubelet_size=(1, *image.patch_size),
        image_size=(image.grid[0] * image.patch_size[0], image.grid[1] * image.patch_size[1]),
        global_pool="token" if image.has_class_token else "avg",
        representation_size=image.representation_size,
        **image.sizes,
        **image.function_fields,
    )
    model = ViViTJoint(config)
    state, _ = from_image(image, model, InitConfig(source="image", keep_head=has_head))
    model.load_state_dict(state)
    return model.eval()
