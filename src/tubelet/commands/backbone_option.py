"""``--backbone NAME`` of `tubelet train` and `tubelet cost`: another image network in a VTN (``model.backbone``)."""

from __future__ import annotations

from dataclasses import fields

from tubelet.errors import ConfigError
from tubelet.models import MODELS, list_models
from tubelet.models.vtn.model import VTN
from tubelet.weights.mapping.converter import nearest_name


def vtn_with(backbone: str) -> str:
    """The named VTN with this backbone, else the first one."""
    return nearest_name(VTN, {"backbone": backbone})


def check_backbone(model: str, backbone: str | None) -> None:
    """Raises ConfigError where a backbone is asked of a model that holds no image network of timm."""
    if backbone is None or model not in MODELS or "backbone" in {field.name for field in fields(MODELS[model][1])}:
        return
    raise ConfigError(f"--backbone is for a VTN, {model} has none; choose one of {', '.join(list_models('vtn_'))}")
