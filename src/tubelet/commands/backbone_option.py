"""``--backbone NAME`` of `tubelet train` and `tubelet cost`: another image network in a model that holds one whole."""

from __future__ import annotations

from tubelet.errors import ConfigError
from tubelet.models import FAMILIES, MODELS, family_of
from tubelet.models.family import nearest_name


def model_with(backbone: str) -> str:
    """The named model with this backbone, else the first one that has a backbone of timm."""
    family = next(family for family in FAMILIES if family.backbone_field is not None)
    model_class, _, _ = next(iter(family.models.values()))
    return nearest_name(family.models, model_class(), {str(family.backbone_field): backbone})


def check_backbone(model: str, backbone: str | None) -> None:
    """Raises ConfigError where a backbone is asked of a model that holds no image network of timm."""
    if backbone is None or model not in MODELS or family_of(model).backbone_field is not None:
        return
    holders = [family for family in FAMILIES if family.backbone_field is not None]
    titles, names = (" or ".join(f.title for f in holders), ", ".join(name for f in holders for name in f.models))
    raise ConfigError(f"--backbone is for a {titles}, {model} has none; choose one of {names}")
