"""Model and protocol for first weights, where a user names neither: those that the weights were made for."""

from __future__ import annotations

from typing import Any

from tubelet import config as config_io
from tubelet.models import FAMILIES
from tubelet.weights.init.source import InitSource, model_fields
from tubelet.weights.init.video import VideoSource
from tubelet.weights.mapping.image_model import ImageModel, UnsuitedImageError


def suggested_recipe(source: InitSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``model`` and ``protocol`` parts of a recipe.

    A checkpoint has both. An image model starts a model of the first family, in the order of the table, that has a
    place for it, on pictures of the size and pixels that it was made for.

    Raises:
        CheckpointError: no family has a place for it; the reason is that of the first.
    """
    if isinstance(source, VideoSource):
        protocol = config_io.to_dict(source.protocol)
        named = {"name": source.model_name}  # its other fields too: sizes are judged by the model that they are for
        return named | model_fields(source, named), {
            key: value for key, value in protocol.items() if key not in ("labels", "multi_label")
        }
    refusal: UnsuitedImageError | None = None
    for family in FAMILIES:
        start = family.weights().image_start
        if start is None or start.suggest is None:
            continue
        try:
            model, image_size = start.suggest(source)
        except UnsuitedImageError as error:
            refusal = refusal or error
        else:
            return model, _pictures(source, image_size)
    raise refusal or UnsuitedImageError(f"{source.name}: no family of models starts from an image model")


def _pictures(source: ImageModel, size: tuple[int, int] | None) -> dict[str, Any]:
    protocol: dict[str, Any] = {}
    if size is not None:
        longer = max(size)  # so that the crop fits into a video of any shape
        protocol |= {"crop_size": list(size), "resize_short_side": round(longer * 256 / 224)}
    for key in ("mean", "std"):
        if (value := getattr(source.facts, key)) is not None:
            protocol[key] = list(value)
    return protocol
