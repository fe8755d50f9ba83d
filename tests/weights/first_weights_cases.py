"""Sources of first weights in every format that is read, with values that a formula gives, and models to start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DeiTConfig, DeiTForImageClassification, ViTConfig, ViTForImageClassification, ViTModel

from support import PROTOCOL
from tubelet.models import create_model
from tubelet.models.vivit.weights import to_scenic
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint
from weights.image_models import clip_names

VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}
WIDE: dict[str, Any] = {**VIT, "img_size": (16, 24)}
CAIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
RESNET: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8}
CONVNEXT: dict[str, Any] = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24]}
CLIP, LAION = "vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_clip_224"
VIT_B, DEIT3, BEIT, DISTILLED = (
    "vit_base_patch16_224",
    "deit3_base_patch16_224",
    "beit_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
)
LABELS = tuple(PROTOCOL.labels["label"])


def filled(model: Any) -> Any:
    """Every value of a model by a formula of its name and place, so that no generator of random numbers matters."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(values(name, tensor.shape))
    return model.eval()


def values(name: str, shape: Any) -> Tensor:
    start = sum(map(ord, name)) % 97
    numbers = (torch.arange(int(np.prod(shape))) * 37 + start) % 101
    return (numbers.double() / 128 + 0.125).float().reshape(tuple(shape))  # exact in float32, all above zero


# ---- sources: each writes into a folder that does not exist yet and gives the path to name


def timm_folder(path: Path, architecture: str = VIT_B, tag: str = "", **options: Any) -> Path:
    path.mkdir()
    arguments = {"num_classes": 5, **options}
    save_file(filled(timm.create_model(architecture, **arguments)).state_dict(), path / "model.safetensors")
    pretrained = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "input_size": [3, 32, 32], "tag": tag}
    content = {"architecture": architecture, "num_classes": 5, "model_args": options, "pretrained_cfg": pretrained}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    return path


def timm_file(path: Path, architecture: str = VIT_B, half: bool = False, **options: Any) -> Path:
    state = filled(timm.create_model(architecture, num_classes=5, **options)).state_dict()
    file = path.with_suffix(".pth")
    torch.save({n: t.half() if half and t.is_floating_point() else t for n, t in state.items()}, file)
    return file


def clip_file(path: Path, whole: bool, mixed: bool) -> Path:
    """A file as OpenAI's CLIP is kept: its tower alone or behind ``visual.``, in one number format or in two."""
    tower = clip_names(filled(timm.create_model(CLIP, num_classes=5, **VIT)).state_dict())
    tower["proj"] = values("proj", (24, 8))
    if mixed:
        tower = {k: t if "ln_" in k or "embedding" in k else t.half() for k, t in tower.items()}
    if whole:
        text = {"positional_embedding": (7, 8), "transformer.resblocks.0.ln_1.weight": (8,), "text_projection": (8, 8)}
        tower = {f"visual.{k}": t for k, t in tower.items()} | {k: values(k, shape) for k, shape in text.items()}
    file = path.with_suffix(".safetensors")
    save_file({k: t.contiguous() for k, t in tower.items()}, file)
    return file


def open_clip_folder(path: Path, quick: bool) -> Path:
    path.mkdir()
    clip_file(path / "open_clip_model", whole=True, mixed=False)
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 6, "patch_size": 8}
    content = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "quick_gelu": quick}}
    content["preprocess_cfg"] = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}
    (path / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    return path


_HUGGINGFACE: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_HUGGINGFACE |= {"intermediate_size": 96, "image_size": 32, "patch_size": 8, "num_labels": 5}


def huggingface_folder(path: Path, kind: str = "vit", weights_alone: bool = False, **options: Any) -> Path:
    match kind:
        case "vit":
            model: nn.Module = ViTForImageClassification(ViTConfig(**{**_HUGGINGFACE, **options}))
        case "no head":
            model = ViTModel(ViTConfig(**{**_HUGGINGFACE, **options}))
        case _:
            model = DeiTForImageClassification(DeiTConfig(**{**_HUGGINGFACE, **options}))
    filled(model).save_pretrained(path)  # type: ignore[operator]
    if weights_alone:
        (path / "config.json").unlink()
    return path


def names_of_4(path: Path) -> Path:
    """A folder with the names of transformers 4."""
    from safetensors.torch import load_file

    new = {"layers.": "encoder.layer.", "attention.q_proj": "attention.attention.query"}
    new |= {"attention.k_proj": "attention.attention.key", "attention.v_proj": "attention.attention.value"}
    new |= {"attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    huggingface_folder(path)
    state = load_file(path / "model.safetensors")
    for old, older in new.items():
        state = {name.replace(old, older): tensor for name, tensor in state.items()}
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    return path


def one_frame(kind: str = "joint", **options: Any) -> nn.Module:
    fields = {"num_classes": 5, "num_frames": 1, "num_sampled_frames": 1, "tubelet_size": (1, 8, 8), "embed_dim": 24}
    fields |= {"depth": 2, "num_heads": 4, "image_size": (32, 32)}
    model: nn.Module = filled(create_model(f"vivit_ti16x2_{kind}", **{**fields, **options}))
    return model


def flax_file(path: Path, in_one_count: bool = False, **options: Any) -> Path:
    arrays = {name: tensor.numpy() for name, tensor in to_scenic(one_frame(**options)).items()}
    if in_one_count:  # as vision_transformer and big_vision number the parts of a block
        new = {"Attention_0": "Attention_1", "LayerNorm_1": "LayerNorm_2", "MlpBlock_0": "MlpBlock_3"}
        for old, later in (*new.items(), ("output_projection", "head")):
            arrays = {name.replace(old, later): array for name, array in arrays.items()}
    file = path.with_suffix(".npz")
    np.savez(file, **arrays)
    return file


def checkpoint_folder(path: Path, kind: str = "joint", **options: Any) -> Path:
    model = one_frame(kind, **{"num_classes": len(LABELS), **options})
    config: Any = model.config
    fields = {name: getattr(config, name) for name in vars(config)}
    save_checkpoint(path, model, Record(model_name=f"vivit_ti16x2_{kind}", model_config=fields, protocol=PROTOCOL))
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "timm": lambda path: timm_folder(path, **VIT),
    "timm, layer scale": lambda path: timm_folder(path, init_values=0.1, **VIT),
    "timm, no row for the class token": lambda path: timm_folder(path, no_embed_class=True, **VIT),
    "timm, no class token": lambda path: timm_folder(path, class_token=False, global_pool="avg", **VIT),
    "timm, mean of tokens": lambda path: timm_folder(path, global_pool="avg", **VIT),
    "timm, no bias": lambda path: timm_folder(path, qkv_bias=False, **VIT),
    "timm, gray": lambda path: timm_folder(path, in_chans=1, **VIT),
    "timm, wide": lambda path: timm_folder(path, **WIDE),
    "timm, registers": lambda path: timm_folder(path, reg_tokens=2, **VIT),
    "timm, qk norm": lambda path: timm_folder(path, qk_norm=True, **VIT),
    "timm, file": lambda path: timm_file(path, **VIT),
    "timm, half file": lambda path: timm_file(path, half=True, init_values=0.1, **VIT),
    "timm, wide file": lambda path: timm_file(path, **WIDE),
    "deit3": lambda path: timm_folder(path, DEIT3, **VIT),
    "deit3, file": lambda path: timm_file(path, DEIT3, **VIT),
    "distilled": lambda path: timm_folder(path, DISTILLED, **VIT),
    "beit": lambda path: timm_folder(path, BEIT, **VIT),
    "beit, file": lambda path: timm_file(path, BEIT, **VIT),
    "cait": lambda path: timm_folder(path, "cait_xxs24_224", **CAIT),
    "resnet": lambda path: timm_folder(path, "resnet50", **RESNET),
    "resnet, file": lambda path: timm_file(path, "resnet50", **RESNET),
    "convnext": lambda path: timm_folder(path, "convnext_tiny", **CONVNEXT),
    "clip": lambda path: timm_folder(path, CLIP, **VIT),
    "clip, named without quickgelu": lambda path: timm_folder(path, LAION, "openai", **VIT),
    "laion": lambda path: timm_folder(path, LAION, "laion2b", **VIT),
    "clip, file of timm": lambda path: timm_file(path, CLIP, **VIT),
    "clip, tower": lambda path: clip_file(path, whole=False, mixed=False),
    "clip, whole": lambda path: clip_file(path, whole=True, mixed=False),
    "clip, mixed": lambda path: clip_file(path, whole=True, mixed=True),
    "open_clip": lambda path: open_clip_folder(path, quick=False),
    "open_clip, quick": lambda path: open_clip_folder(path, quick=True),
    "huggingface": huggingface_folder,
    "huggingface, tanh": lambda path: huggingface_folder(path, hidden_act="gelu_fast", layer_norm_eps=1e-3),
    "huggingface, no head": lambda path: huggingface_folder(path, "no head"),
    "huggingface, no bias": lambda path: huggingface_folder(path, qkv_bias=False),
    "huggingface, weights alone": lambda path: huggingface_folder(path, weights_alone=True),
    "huggingface, names of 4": names_of_4,
    "huggingface, deit": lambda path: huggingface_folder(path, "deit"),
    "flax": flax_file,
    "flax, in one count": lambda path: flax_file(path, in_one_count=True),
    "flax, no class token": lambda path: flax_file(path, global_pool="avg"),
    "flax, representation": lambda path: flax_file(path, representation_size=8),
    "checkpoint": checkpoint_folder,
    "checkpoint, average pool": lambda path: checkpoint_folder(path, "avgpool"),
    "checkpoint, no class token": lambda path: checkpoint_folder(path, global_pool="avg"),
    "checkpoint, representation": lambda path: checkpoint_folder(path, representation_size=8),
    "checkpoint, tubelet kernel": lambda path: checkpoint_folder(path, num_sampled_frames=None),
}

# ---- models: name, fields, options of init

_VIT: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 4}
_TUBELET: dict[str, Any] = {**_VIT, "tubelet_size": (2, 8, 8)}
_VTN: dict[str, Any] = {"num_heads": 2, "hidden_dim": 32, "head_dim": 16, "depth": 1}
_TRUNK: dict[str, Any] = {**_VIT, "patch_size": 8, "global_layers": 1}

TARGETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "joint": ("vivit_ti16x2_joint", _TUBELET, {}),
    "joint, inflation": ("vivit_ti16x2_joint", _TUBELET, {"tokenizer": "inflation", "positions": "tile"}),
    "joint, arp": ("vivit_ti16x2_joint", _TUBELET, {"tokenizer": "arp"}),
    "joint, random": ("vivit_ti16x2_joint", _TUBELET, {"tokenizer": "random"}),
    "joint, representation": ("vivit_ti16x2_joint", {**_TUBELET, "representation_size": 8}, {}),
    "joint, head": ("vivit_ti16x2_joint", {**_TUBELET, "num_classes": len(LABELS)}, {"keep_head": True}),
    "joint, wide": ("vivit_ti16x2_joint", _TUBELET, {"image_grid": (2, 3)}),
    "joint, resized": ("vivit_ti16x2_joint", {**_TUBELET, "image_size": (48, 32)}, {}),
    "joint, all resized": (
        "vivit_ti16x2_joint",
        {**_VIT, "tubelet_size": (2, 4, 4), "image_size": (12, 20), "in_channels": 1},
        {},
    ),
    "fe": ("vivit_ti16x2_fe", _TUBELET, {}),
    "fe, own token": ("vivit_ti16x2_fe", _TUBELET, {"spatial_class_token": "fresh"}),
    "fe, mean": ("vivit_ti16x2_fe", {**_TUBELET, "global_pool": "avg"}, {}),
    "fe, frames": ("vivit_ti16x2_fe", {**_VIT, "tubelet_size": (1, 8, 8), "num_sampled_frames": 2}, {}),
    "fsa": ("vivit_ti16x2_fsa", _TUBELET, {}),
    "fsa, zero": ("vivit_ti16x2_fsa", _TUBELET, {"temporal_attention": "zero"}),
    "fsa, copied": ("vivit_ti16x2_fsa", _TUBELET, {"temporal_attention": "copied"}),
    "fsa, random": ("vivit_ti16x2_fsa", _TUBELET, {"temporal_attention": "random"}),
    "fdp": ("vivit_ti16x2_fdp", _TUBELET, {}),
    "avgpool": ("vivit_ti16x2_avgpool", _TUBELET, {}),
    "divided": ("timesformer_ti16_divided", {**_VIT, "patch_size": 8}, {}),
    "timesformer joint": ("timesformer_ti16_joint", {**_VIT, "patch_size": 8}, {}),
    "timesformer space": ("timesformer_ti16_space", {**_VIT, "patch_size": 8, "image_size": (16, 24)}, {}),
    "timesformer, head": (
        "timesformer_ti16_divided",
        {**_VIT, "patch_size": 8, "num_classes": len(LABELS)},
        {"keep_head": True},
    ),
    "timesformer, all resized": ("timesformer_ti16_divided", {**_VIT, "patch_size": 4, "in_channels": 1}, {}),
    "trunk": ("uniformerv2_b16", _TRUNK, {}),
    "trunk, local": ("uniformerv2_b16_ssv2", _TRUNK, {}),
    "trunk, wide": ("uniformerv2_b16", _TRUNK, {"image_grid": (2, 3)}),
    "trunk, all resized": ("uniformerv2_b16", {**_TRUNK, "image_size": (16, 48), "in_channels": 1}, {}),
    "vtn": ("vtn_vit_b16", _VTN, {}),
    "vtn, named": ("vtn_vit_b16", {**_VTN, "backbone": VIT_B, "backbone_fields": {**VIT}}, {}),
    "vtn, resnet": ("vtn_vit_b16", {**_VTN, "backbone": "resnet50", "backbone_fields": RESNET}, {}),
    "vtn, all resized": ("vtn_vit_b16", {**_VTN, "image_size": (16, 48), "in_channels": 1}, {}),
}
