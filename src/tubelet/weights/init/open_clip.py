"""A folder as open_clip publishes a CLIP: its image tower, and what its config says of how the tower computes.

Source: mlfoundations/open_clip, ``src/open_clip/model.py`` (``CLIPVisionCfg``, ``quick_gelu``: GELU where the config
does not say) and ``factory.py`` (names of the files).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError
from tubelet.models.vivit.init import InitConfig
from tubelet.weights.init.image_network import ImageNetwork
from tubelet.weights.mapping.read import read_weights

_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NORM_EPS = 1e-5  # of torch's LayerNorm, which its own derive from


def is_open_clip(folder: Path) -> bool:
    """Whether a folder holds a CLIP of open_clip, its config and its weights."""
    return (folder / _CONFIG).is_file() and _weights_in(folder) is not None


def network_of_open_clip(folder: Path, name: str, init: InitConfig) -> ImageNetwork:
    """The whole CLIP, of which a trunk takes the image tower, with activation, norms, heads, grid and pixels.

    Raises:
        CheckpointError: a damaged config, or a tower that is no ViT of open_clip's own.
    """
    file, weights = folder / _CONFIG, _weights_in(folder)
    assert weights is not None  # is_open_clip
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        model, pixels = content["model_cfg"], content.get("preprocess_cfg", {})
        tower = model["vision_cfg"]
        if "timm_model_name" in tower:
            raise CheckpointError(
                f"{file}: its image tower is timm's {tower['timm_model_name']}; give timm's own name of the weights"
            )
        known, size, patch = _known(model, tower), int(tower.get("image_size", 224)), int(tower.get("patch_size", 16))
        stated = {key: tuple(map(float, pixels[key])) for key in ("mean", "std") if key in pixels}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{file}: does not describe a CLIP of open_clip ({error!r})") from None
    return ImageNetwork(
        tensors=read_weights(weights),
        name=name,
        known=known,
        image_grid=init.image_grid or (size // patch, size // patch),
        image_size=(size, size),
        mean=stated.get("mean"),
        std=stated.get("std"),
    )


def _known(model: Mapping[str, Any], tower: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "activation": "quick_gelu" if model.get("quick_gelu", False) else "gelu",
        "norm_eps": float((tower.get("norm_kwargs") or {}).get("eps", _NORM_EPS)),
        "num_heads": int(tower.get("width", 768)) // int(tower.get("head_width", 64)),
    }


def _weights_in(folder: Path) -> Path | None:
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
