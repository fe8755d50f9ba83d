"""Newer image ViTs by timm's names, small, and what becomes of each as the start of a video model.

``python tests/weights/newer_trunks.py`` prints the page docs/image_trunks.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))

from support import PROTOCOL
from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.weights.config import InitConfig
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import model_fields, read_source
from weights.image_models import randomized

# Two blocks of the named networks: registers, rotary positions, scales, gates and tokens are those of the name.
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
NETWORKS = {
    "vit_small_patch14_dinov2": "DINOv2",
    "vit_small_patch14_reg4_dinov2": "DINOv2 with registers",
    "vit_giant_patch14_reg4_dinov2": "DINOv2 g with registers",
    "vit_small_patch16_dinov3": "DINOv3",
    "vit_small_plus_patch16_dinov3": "DINOv3 S+",
    "vit_base_patch16_siglip_224": "SigLIP, SigLIP 2",
    "vit_base_patch16_siglip_gap_224": "SigLIP, SigLIP 2, mean of tokens",
    "vit_pe_core_base_patch16_224": "Perception Encoder, core",
    "vit_pe_spatial_base_patch16_512": "Perception Encoder, spatial",
    "vit_pe_lang_large_patch14_448": "Perception Encoder, language",
    "eva02_tiny_patch14_224": "EVA-02",
    "eva02_base_patch16_clip_224": "EVA-02, CLIP",
}
_SIZES = {"embed_dim": 32, "depth": 2, "num_heads": 4}
STARTED: dict[str, dict[str, Any]] = {
    "VTN": {"name": "vtn_vit_b16", "num_heads": 2, "hidden_dim": 32, "head_dim": 16, "depth": 1},
    "ViViT": {"name": "vivit_b16x2_fe", **_SIZES, "tubelet_size": [1, 8, 8], "temporal_depth": 1},
    "UniFormerV2": {"name": "uniformerv2_b16", **_SIZES, "patch_size": 8, "global_layers": 1},
}
_HEAD = """# Image trunks

Which of the newer image models start which video model. Made by `python tests/weights/newer_trunks.py`, which runs
networks of two blocks and random weights under timm's names, with the registers, rotary positions, layer scales, gates
and tokens of each. "exact" means that the video model computes for a frame what the image model computes, to 1e-4 of
the largest value; a model without a class token starts a ViViT with `global_pool avg`, and its attention pooling stays
behind. Real weights of these models were never loaded.

| timm's name | model | VTN backbone | ViViT | UniFormerV2 trunk |
|---|---|---|---|---|
"""


def network(name: str) -> Any:
    """timm's network, every parameter random."""
    return randomized(timm.create_model(name, num_classes=0, **SMALL))


def folder_of(path: Path, name: str, image: Any) -> Path:
    """A folder as timm's own files on the hub are."""
    path.mkdir()
    save_file(image.state_dict(), path / "model.safetensors")
    content = {"architecture": name, "num_classes": 0, "model_args": SMALL, "pretrained_cfg": {}}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def started(folder: Path, video: str, image: Any) -> tuple[Any, dict[str, Any]]:
    """The video model with the image model's weights, and the account."""
    asked = dict(STARTED[video])
    if video == "ViViT" and image.cls_token is None:
        asked["global_pool"] = "avg"
    init = InitConfig(source=str(folder))
    source = read_source(init, asked["name"])
    fields = {**model_fields(source, asked), **{key: value for key, value in asked.items() if key != "name"}}
    torch.manual_seed(0)
    model = create_model(asked["name"], num_classes=8, num_frames=4, image_size=[32, 32], **fields).eval()
    return model, initialize(model, source, init, PROTOCOL)


@torch.inference_mode()
def features(model: Any, video: str, image: Any, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of every frame from the video model, and the same from the image model, ``[B*T, D]``."""
    frames = clip.transpose(1, 2).flatten(0, 1)
    if video == "VTN":
        return model.encode_frames(clip).vectors.flatten(0, 1), image(frames)
    tokens = image.forward_features(frames)
    if video == "ViViT":
        vectors = tokens.mean(1) if image.cls_token is None else tokens[:, 0]
        return model.encode_frames(clip).vectors.flatten(0, 1), vectors
    class_tokens = model.trunk(clip, model.layers)[1].flatten(0, 1)
    return image.norm(class_tokens), tokens[:, 0]


def outcome(name: str, video: str, folder: Path) -> str:
    """Either "exact", or why the image model is refused."""
    image = network(name)
    path = folder / f"{video}-{name}"
    try:
        model, _ = started(folder_of(path, name, image), video, image)
    except CheckpointError as error:
        return f"refused: {str(error).replace(f'{path}: ', '').replace(f'{path} ', '')}"
    ours, theirs = features(model, video, image, torch.randn(1, 3, 4, 32, 32))
    return "exact" if (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max() else "differs"


def page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            f"| `{name}` | {title} | {' | '.join(outcome(name, video, Path(folder)) for video in STARTED)} |"
            for name, title in NETWORKS.items()
        ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(page(), end="")
