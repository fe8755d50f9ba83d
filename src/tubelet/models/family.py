"""What a family of models tells the rest of tubelet: its names, its foreign formats, and how its models start.

A family is a folder (``models/<family>/``) that ends in one value, ``FAMILY``. Nothing outside knows a family by name:
the rest asks the family of a model. ``models/__init__.py`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import ConfigError, nearest
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.converter import HuggingFaceModel, Source
from tubelet.weights.mapping.image_model import ImageModel
from tubelet.weights.mapping.rules import MappingReport, Rule

# Model name -> model class, config class, the fields that differ from the config's defaults.
Models = Mapping[str, tuple[type[nn.Module], type, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class ImageStart:
    """How the models of a family start from an image model."""

    # What the family makes of an image model before it takes tensors; raises UnsuitedImageError for a kind of image
    # model that it has no place for, CheckpointError for one that is damaged or not fully described.
    prepare: Callable[[ImageModel], ImageModel]
    # Config fields that come along with the prepared weights; ``given`` holds the recipe's own, with the name.
    fields: Callable[[Any, Mapping[str, Any]], dict[str, Any]]
    # The state dict of a fresh model that starts from the prepared image model, and the report of the mapping.
    state: Callable[[Any, Any, InitConfig], tuple[dict[str, Tensor], MappingReport]]
    # Name and fields of the model to take where a user names none, and the image size; raises as ``prepare`` does.
    # None means that the family is not suggested.
    suggest: Callable[[ImageModel], tuple[dict[str, Any], tuple[int, int] | None]] | None = None


@dataclass(frozen=True, kw_only=True)
class VideoStart:
    """What of a family's checkpoint changes when another model of its kind starts from it."""

    grid_fields: tuple[str, ...] = ()  # config fields that the new clip decides, since tables are resized at loading
    # (old model, new model, notes) -> rules that go before the equal names, and dropped names with reasons. Position
    # tables of ``nn/position.py`` are resized for every family. ``notes`` gets a line for each change.
    changes: Callable[[nn.Module, nn.Module, list[str]], tuple[list[Rule], dict[str, str]]] | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models: one paper, one folder."""

    name: str  # of its folder, and how the names of its models begin
    title: str  # how messages call it
    models: Models
    sources: Mapping[str, Source] = field(default_factory=dict)  # format -> how `tubelet convert` reads it
    huggingface: Mapping[str, HuggingFaceModel] = field(default_factory=dict)  # model_type of transformers -> both ways
    # Format -> a model's tensors under that format's names, which `tubelet convert --to` writes as .npz.
    writers: Mapping[str, Callable[[nn.Module], dict[str, Tensor]]] = field(default_factory=dict)
    image_start: ImageStart | None = None  # None means that its models start from checkpoints of their own kind only
    video_start: VideoStart = field(default_factory=VideoStart)
    # The image model that a model of the family is (one made for a single frame); None where it is a video model.
    as_image: Callable[[nn.Module], ImageModel | None] = lambda model: None
    backbone_field: str | None = None  # config field that names an image network of timm
    frame_stage: str | None = None  # which of its models have a per-frame stage whose vectors can be stored
    cost_convention: str | None = None  # how its sources count multiply-adds, where not as tubelet does


def create(models: Models, name: str, options: Mapping[str, Any]) -> nn.Module:
    """A model with fresh weights.

    Raises:
        ConfigError: an unknown name or field (the nearest is named), or a value that does not fit.
    """
    model_class, _, _ = entry(models, name)
    return model_class(config_of(models, name, options))


def config_of(models: Models, name: str, options: Mapping[str, Any]) -> Any:
    """The frozen config dataclass of a named model, with ``options`` over the name's own fields."""
    _, config_class, fields = entry(models, name)
    return config_io.from_dict(config_class, {**fields, **options}, where=name)


def entry(models: Models, name: str) -> tuple[type[nn.Module], type, dict[str, Any]]:
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

    return max((name for name, (of_name, _, _) in models.items() if of_name is model_class), key=agreeing)


def named_fields(models: Models, model_class: type[nn.Module], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The nearest named model, and those of ``fields`` that differ from its own."""
    name = nearest_name(models, model_class, fields)
    own = config_io.to_dict(config_of(models, name, {}))
    return {"name": name, **{key: value for key, value in fields.items() if own[key] != value}}


def refuse_options(init: InitConfig, title: str) -> None:
    """Refuse options that say how an image ViT is taken apart, for models that hold an image network whole.

    Raises:
        ConfigError: the first such option.
    """
    for name in init.changed():
        if name == "keep_head":
            raise ConfigError(f"init.keep_head: {title} has no place for an image network's classifier; leave it out")
        if name != "image_grid":
            raise ConfigError(
                f"init.{name} says how an image ViT is taken apart; {title} takes an image network "
                "as it is: leave it out"
            )
