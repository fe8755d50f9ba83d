"""What a family of models is to the rest of tubelet: its names, its configs, and what is said of it.

A family is a folder (``models/<family>/``) that ends in one value, ``FAMILY``. Nothing outside knows a family by name:
the rest asks the family of a model. ``models/__init__.py`` lists them. Here nothing imports torch: names and configs
are known before any model is (``models/family_weights.py`` says where weights come from).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tubelet import config as config_io
from tubelet.errors import ConfigError, nearest
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from torch import nn

    from tubelet.models.family_weights import FamilyWeights

ModelClass = Callable[[], type[Any]]  # imports a class of models, which imports torch
# Model name -> model class, config class, the fields that differ from the config's defaults.
Models = Mapping[str, tuple[ModelClass, type, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models: one paper, one folder."""

    name: str  # of its folder, and how the names of its models begin
    title: str  # how messages call it
    models: Models
    weights: Callable[[], FamilyWeights]  # imports how its models get their weights
    formats: Mapping[str, Format] = field(default_factory=dict)  # foreign formats that `tubelet convert` reads, by name
    huggingface: Mapping[str, str] = field(default_factory=dict)  # model_type of transformers -> its class there
    backbone_field: str | None = None  # config field that names an image network of timm
    frame_stage: str | None = None  # which of its models have a per-frame stage whose vectors can be stored
    cost_convention: str | None = None  # how its sources count multiply-adds, where not as tubelet does


def create(models: Models, name: str, options: Mapping[str, Any]) -> nn.Module:
    """A model with fresh weights.

    Raises:
        ConfigError: an unknown name or field (the nearest is named), or a value that does not fit.
    """
    model_class, _, _ = entry(models, name)
    model: nn.Module = model_class()(config_of(models, name, options))
    return model


def config_of(models: Models, name: str, options: Mapping[str, Any]) -> Any:
    """The frozen config dataclass of a named model, with ``options`` over the name's own fields."""
    _, config_class, fields = entry(models, name)
    return config_io.from_dict(config_class, {**fields, **options}, where=name)


def entry(models: Models, name: str) -> tuple[ModelClass, type, dict[str, Any]]:
    """The row of a named model.

    Raises:
        ConfigError: no such name.
    """
    if name not in models:
        raise ConfigError(f"unknown model '{name}'{nearest(name, models)} (`tubelet models` lists them)")
    return models[name]


def nearest_name(models: Models, model_class: type[nn.Module], fields: Mapping[str, Any]) -> str:
    """The name of that class whose own fields agree most with ``fields``; a record holds all fields anyway."""

    def agreeing(name: str) -> int:
        own = config_io.to_dict(config_of(models, name, {}))
        return sum(own.get(key) == config_io.to_dict(value) for key, value in fields.items())

    return max((name for name, (of_name, _, _) in models.items() if of_name() is model_class), key=agreeing)


def named_fields(models: Models, model_class: type[nn.Module], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The nearest named model, and those of ``fields`` that differ from its own."""
    name = nearest_name(models, model_class, fields)
    own = config_io.to_dict(config_of(models, name, {}))
    return {"name": name, **{key: value for key, value in fields.items() if own[key] != value}}
