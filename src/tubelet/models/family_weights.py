"""How the models of a family get their weights: from foreign formats, from image models, from other video models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.converter import Converter, HuggingFaceModel
from tubelet.weights.mapping.image_model import ImageModel
from tubelet.weights.mapping.rules import MappingReport, Rule


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
    # (old model, new model) -> what only the new one has besides its classifier: patterns of names with reasons.
    fresh: Callable[[nn.Module, nn.Module], dict[str, str]] | None = None


@dataclass(frozen=True, kw_only=True)
class FamilyWeights:
    """Where the weights of a family's models come from, and what they are written to."""

    converters: Mapping[str, Converter] = field(default_factory=dict)  # of the family's ``formats``
    huggingface: Mapping[str, HuggingFaceModel] = field(default_factory=dict)  # model_type of transformers -> both ways
    # Format -> a model's tensors under that format's names, which `tubelet convert --to` writes as .npz.
    writers: Mapping[str, Callable[[nn.Module], dict[str, Tensor]]] = field(default_factory=dict)
    image_start: ImageStart | None = None  # None means that its models start from checkpoints of their own kind only
    video_start: VideoStart = field(default_factory=VideoStart)
    # The image model that a model of the family is (one made for a single frame); None where it is a video model.
    as_image: Callable[[nn.Module], ImageModel | None] = lambda model: None


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
