"""The first weights of a video model from another model, with the account of it that a checkpoint keeps."""

from __future__ import annotations

from typing import Any

from torch import nn

from tubelet import config as config_io
from tubelet.errors import ConfigError
from tubelet.models import MODELS
from tubelet.models.timesformer import TimeSformer
from tubelet.models.vivit import ViViTConfig, ViViTFactorizedEncoder
from tubelet.protocol import Protocol
from tubelet.weights import timesformer
from tubelet.weights.image_init import InitConfig, from_image, position_table, prefix_of
from tubelet.weights.image_vit import ImageViT
from tubelet.weights.source import nearest_name
from tubelet.weights.video_init import VideoSource, from_video


def initialize(
    model: nn.Module, source: ImageViT | VideoSource, init: InitConfig, protocol: Protocol
) -> dict[str, Any]:
    """Load the weights that ``source`` gives into ``model``; what it has no counterpart of keeps its first values.

    Args:
        protocol: of the new model; its labels are those that the classifier is made for.

    Returns:
        The account for a checkpoint's provenance: ``source``, ``sha256`` of the source's tensors, ``config``, the
        mapping report (``summary``, ``notes``, ``rows``) and the names left ``fresh``.

    Raises:
        CheckpointError: the source does not fit; the model is as it was.
        ConfigError: an option that means nothing for this source or model.
    """
    labels = tuple(name for head in protocol.labels.values() for name in head)
    if init.keep_head:
        _check_labels(source, labels)
    if isinstance(source, ImageViT) and isinstance(model, TimeSformer):
        state, report = timesformer.from_image(source, model, init)
    elif isinstance(source, ImageViT):
        if not isinstance(getattr(model, "config", None), ViViTConfig):
            raise ConfigError(
                f"{source.name} is an image model, which starts a ViViT or TimeSformer; {type(model).__name__} starts "
                "from a checkpoint of its own kind"
            )
        state, report = from_image(source, model, init)
    else:
        _check_is_for_video(init, source)
        state, report = from_video(source, model, init.keep_head)
    model.load_state_dict(state)
    account = report.to_dict()
    account["notes"] += [_head_note(init, labels), *_pixel_notes(source, protocol)]
    return {
        "source": source.name,
        "sha256": source.sha256,
        "config": config_io.to_dict(init),
        "fresh": [*report.fresh, *_partly_fresh(source, model)],
        **account,
    }


def _partly_fresh(source: ImageViT | VideoSource, model: nn.Module) -> list[str]:
    """A position table whose row for the class token is the model's own, since the image model has none."""
    if not isinstance(source, ImageViT) or source.has_class_token:
        return []
    name = f"{prefix_of(model)}pos_embed"
    return [f"{name}.table"] if position_table(model).num_prefix else []


def suggested_recipe(source: ImageViT | VideoSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model and protocol for weights where a user names neither: those of the checkpoint, or for an image model the
    factorized encoder of its size with tubelets of two frames, on pictures of the size and pixels it was made for."""
    if isinstance(source, VideoSource):
        protocol = config_io.to_dict(source.protocol)
        return {"name": source.model_name}, {
            key: value for key, value in protocol.items() if key not in ("labels", "multi_label")
        }
    config = source.config
    fields = {name: getattr(config, name) for name in ("embed_dim", "depth", "num_heads", "mlp_ratio")}
    name = nearest_name(ViViTFactorizedEncoder, fields)
    own = config_io.to_dict(MODELS[name][1](**MODELS[name][2]))
    _, height, width = config.tubelet_size
    fields["tubelet_size"] = [2, height, width]
    model = {"name": name, **{key: value for key, value in fields.items() if own[key] != value}}
    longer = max(config.image_size)  # so that the crop fits into a video of any shape
    protocol = {"crop_size": list(config.image_size), "resize_short_side": round(longer * 256 / 224)}
    for key in ("mean", "std"):
        if (value := getattr(source, key)) is not None:
            protocol[key] = list(value)
    return model, protocol


def _check_labels(source: ImageViT | VideoSource, labels: tuple[str, ...]) -> None:
    if isinstance(source, ImageViT):
        theirs = source.labels
    else:
        theirs = tuple(name for head in source.protocol.labels.values() for name in head)
    if theirs != labels:
        known = "does not say its classes" if theirs is None else f"tells {', '.join(theirs[:5])}, ... apart"
        raise ConfigError(
            f"init.keep_head takes the classifier of {source.name} along, which {known}; the data have "
            f"{', '.join(labels[:5])}, ...: leave init.keep_head out"
        )


def _check_is_for_video(init: InitConfig, source: VideoSource) -> None:
    """Options of image models are refused where they would do nothing."""
    plain = InitConfig(source=init.source)
    for name in ("tokenizer", "positions", "temporal_attention", "spatial_class_token", "image_grid"):
        if getattr(init, name) != getattr(plain, name):
            raise ConfigError(f"init.{name} is for image models; {source.name} is a video model: leave it out")


def _head_note(init: InitConfig, labels: tuple[str, ...]) -> str:
    named = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
    how = "taken along" if init.keep_head else "made fresh"
    return f"head: {how} for {len(labels)} classes ({named})"


def _pixel_notes(source: ImageViT | VideoSource, protocol: Protocol) -> list[str]:
    """Other pixels than the weights were trained on are allowed, but said."""
    of = source if isinstance(source, ImageViT) else source.protocol
    notes = []
    for name in ("mean", "std"):
        theirs, ours = getattr(of, name), getattr(protocol, name)
        if theirs is not None and tuple(theirs) != tuple(ours):
            text = ",".join(f"{value:g}" for value in theirs)
            notes.append(f"pixels: the weights were trained with {name} {text}, the recipe has {ours}; "
                         f"--protocol.{name} {text} takes theirs")  # fmt: skip
    if isinstance(source, VideoSource) and source.protocol.channel_order != protocol.channel_order:
        theirs = source.protocol.channel_order
        notes.append(f"pixels: the weights were trained on {theirs} frames: --protocol.channel_order {theirs}")
    return notes
