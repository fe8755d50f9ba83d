"""A folder that holds an image model, as timm, transformers or open_clip save it, in the canonical form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm

from tubelet.errors import CheckpointError, reason
from tubelet.weights.checkpoint.checkpoint import stated_license
from tubelet.weights.init.canonical import canonical
from tubelet.weights.init.open_clip import facts_of_open_clip, open_clip_weights
from tubelet.weights.mapping.huggingface import CONFIG, PREPROCESSOR, license_of
from tubelet.weights.mapping.image_model import ImageFacts, ImageModel, facts_of_timm
from tubelet.weights.mapping.read import read_weights

_ACTIVATIONS = {"gelu": "gelu", "gelu_fast": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
# What every video model sets itself when it makes the network.
_NOT_ALONG = ("num_classes", "in_chans", "dynamic_img_size")


def read_image_folder(folder: Path, name: str, image_grid: tuple[int, int] | None) -> ImageModel:
    """The image model of a folder, with the license that its model card names.

    Args:
        name: what messages and records call it.
        image_grid: patches (h, w) as a user gives them, which goes before what the folder says.

    Raises:
        CheckpointError: the folder holds another model, is damaged, or its weights are not those of its format.
    """
    content = config_of(folder)
    clip = open_clip_weights(folder)
    if "architecture" in content:
        image = _of_timm(folder, name, content)
    elif clip is not None:
        image = canonical(read_weights(clip), name, _with_grid(facts_of_open_clip(folder), image_grid))
    elif content.get("model_type") in ("vit", "deit"):
        image = canonical(read_weights(folder), name, _with_grid(_facts_of_huggingface(content, folder), image_grid))
    elif content:
        kind = content.get("model_type", "unknown")
        raise CheckpointError(
            f"{folder / CONFIG}: model_type is '{kind}'; expected an image ViT ('vit') or a video model"
        )
    else:
        image = canonical(read_weights(folder), name, ImageFacts(grid=image_grid))
    return replace(image, facts=_with_grid(image.facts, image_grid), license=stated_license(license_of(folder)))


def config_of(folder: Path) -> Mapping[str, Any]:
    """The content of ``config.json``; empty where there is none.

    Raises:
        CheckpointError: it cannot be read.
    """
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({reason(error)}); copy or download it again") from None
    return content if isinstance(content, dict) else {}


def _with_grid(facts: ImageFacts, image_grid: tuple[int, int] | None) -> ImageFacts:
    return facts if image_grid is None else replace(facts, grid=image_grid)


def _of_timm(folder: Path, name: str, content: Mapping[str, Any]) -> ImageModel:
    """What timm's own construction of the network says, with the arguments that the folder states."""
    pretrained = content.get("pretrained_cfg", {})
    of_name = name.partition(".")[0]
    architecture = of_name if timm.is_model(of_name) else content["architecture"]
    quick = _quick_gelu_of(architecture, pretrained.get("tag") or name.partition(".")[2])
    image = ImageModel(
        tensors=read_weights(folder),
        name=name,
        architecture=quick or architecture,
        options={key: value for key, value in content.get("model_args", {}).items() if key not in _NOT_ALONG},
        notes=(f"{architecture} with QuickGELU, which these weights were trained with: {quick}",) if quick else (),
    )
    facts = facts_of_timm(image.made())
    pixels: Any = {key: tuple(pretrained[key]) for key in ("mean", "std") if key in pretrained}
    size = facts.image_size or tuple(pretrained.get("input_size", ())[1:]) or None
    return replace(image, facts=replace(facts, image_size=size, **pixels))


def _quick_gelu_of(architecture: str, tag: str) -> str | None:
    """timm has CLIPs that were trained with QuickGELU under two names, and one of them computes with GELU."""
    twin = architecture.replace("_clip_", "_clip_quickgelu_")
    if twin == architecture or "_quickgelu_" in architecture or not tag or not timm.is_model(twin):
        return None
    return twin if f"{twin}.{tag}" in timm.list_pretrained(f"{twin}.*") else None


def _facts_of_huggingface(content: Mapping[str, Any], folder: Path) -> ImageFacts:
    act = content.get("hidden_act", "gelu")
    if act not in _ACTIVATIONS:
        raise CheckpointError(f"{folder / CONFIG}: hidden_act is '{act}'; expected one of {', '.join(_ACTIVATIONS)}")
    facts: dict[str, Any] = {
        "num_heads": content.get("num_attention_heads", 12),
        "norm_eps": content.get("layer_norm_eps", 1e-12),
        "activation": _ACTIVATIONS[act],
    }
    size, patch = content.get("image_size", 224), content.get("patch_size", 16)
    if isinstance(size, list) and isinstance(patch, int):
        facts["grid"] = (size[0] // patch, size[1] // patch)
    file = folder / PREPROCESSOR
    if file.is_file():
        pixels = json.loads(file.read_text(encoding="utf-8"))
        if pixels.get("do_normalize", True):
            for fact, key in (("mean", "image_mean"), ("std", "image_std")):
                if isinstance(pixels.get(key), list):
                    facts[fact] = tuple(pixels[key])
    return ImageFacts(**facts)
