"""A folder as open_clip publishes a CLIP, and what its config says of how its image tower computes.

Source: mlfoundations/open_clip, ``src/open_clip/model.py`` (``CLIPVisionCfg``, ``quick_gelu``: GELU where the config
does not say) and ``factory.py`` (names of the files).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError
from tubelet.weights.mapping.huggingface import read_json
from tubelet.weights.mapping.image_model import ImageFacts

_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NORM_EPS = 1e-5  # of torch's LayerNorm, which its own derive from


def open_clip_weights(folder: Path) -> Path | None:
    """The file of weights, where a folder holds a CLIP of open_clip with its config; None where it does not."""
    if not (folder / _CONFIG).is_file():
        return None
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def facts_of_open_clip(folder: Path) -> ImageFacts:
    """Activation, norms, heads, grid and pixels of the image tower.

    Raises:
        CheckpointError: a damaged config, or a tower that is no ViT of open_clip's own.
    """
    file = folder / _CONFIG
    try:
        content = read_json(file)
        model, pixels = content["model_cfg"], content.get("preprocess_cfg", {})
        tower = model["vision_cfg"]
        if "timm_model_name" in tower:
            raise CheckpointError(
                f"{file}: its image tower is timm's {tower['timm_model_name']}; give timm's own name of the weights"
            )
        size, patch = int(tower.get("image_size", 224)), int(tower.get("patch_size", 16))
        scale: dict[str, Any] = {key: tuple(map(float, pixels[key])) for key in ("mean", "std") if key in pixels}
        return ImageFacts(
            activation="quick_gelu" if model.get("quick_gelu", False) else "gelu",
            norm_eps=float((tower.get("norm_kwargs") or {}).get("eps", _NORM_EPS)),
            num_heads=int(tower.get("width", 768)) // int(tower.get("head_width", 64)),
            grid=(size // patch, size // patch),
            image_size=(size, size),
            **scale,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{file}: does not describe a CLIP of open_clip ({error!r})") from None
