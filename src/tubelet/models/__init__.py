"""The families of models, one literal table, and the models of all of them by name.

Names and configs need no torch; a model is imported when it is made.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tubelet.models import family as _family
from tubelet.models import timesformer, torchvision, uniformerv2, videomae, videoprism, vivit, vjepa2, vtn
from tubelet.models.family import Family, Models

if TYPE_CHECKING:
    from torch import nn

FAMILIES: tuple[Family, ...] = (
    vivit.FAMILY,
    timesformer.FAMILY,
    uniformerv2.FAMILY,
    vtn.FAMILY,
    videoprism.FAMILY,
    torchvision.FAMILY,
    videomae.FAMILY,
    vjepa2.FAMILY,
)

MODELS: Models = {name: row for family in FAMILIES for name, row in family.models.items()}


def create_model(name: str, **options: Any) -> nn.Module:
    """A model with fresh weights: ``create_model("vivit_b16x2_joint", num_classes=174)``.

    Every field of the model's config is accepted as a keyword.

    Raises:
        ConfigError: an unknown name or field (the nearest is named), or a value that does not fit.
    """
    return _family.create(MODELS, name, options)


def model_config(name: str, options: dict[str, Any] | None = None) -> Any:
    """The frozen config dataclass of a named model, with ``options`` over the name's own fields."""
    return _family.config_of(MODELS, name, options or {})


def list_models(pattern: str = "") -> list[str]:
    """The names that ``create_model`` knows: all, those that contain a text, or those that a pattern such as
    ``vivit*`` matches whole (``*``, ``?`` and ``[...]`` as in a shell)."""
    if not set("*?[") & set(pattern):
        return [name for name in MODELS if pattern in name]
    return [name for name in MODELS if fnmatchcase(name, pattern)]


def family_of(name: str) -> Family:
    """The family of a named model.

    Raises:
        ConfigError: an unknown name.
    """
    _family.entry(MODELS, name)
    return next(family for family in FAMILIES if name in family.models)


def family_of_model(model: nn.Module) -> Family:
    """The family whose class a model is of.

    Raises:
        TypeError: no family has this class.
    """
    for family in FAMILIES:
        if any(type(model) is model_class() for model_class, _, _ in family.models.values()):
            return family
    raise TypeError(f"{type(model).__name__} belongs to no family of models")
