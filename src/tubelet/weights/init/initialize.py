"""The first weights of a video model from another model, with the account of it that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import ConfigError
from tubelet.models.timesformer import weights as timesformer
from tubelet.models.timesformer.model import TimeSformer
from tubelet.models.uniformerv2 import init as trunk_init
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.init import InitConfig, from_image, position_table, prefix_of
from tubelet.models.vtn import init as backbone_init
from tubelet.models.vtn.model import VTN
from tubelet.protocol import Protocol
from tubelet.weights.init.image_network import ImageNetwork
from tubelet.weights.init.image_vit import ImageViT
from tubelet.weights.init.source import InitSource
from tubelet.weights.init.video import VideoSource, from_video, rows_by_name
from tubelet.weights.mapping.rules import MappingReport


def initialize(model: nn.Module, source: InitSource, init: InitConfig, protocol: Protocol) -> dict[str, Any]:
    """Load the weights that ``source`` gives into ``model``; what it has no counterpart of keeps its first values.

    Args:
        protocol: of the new model; its labels are those that the classifier is made for.

    Returns:
        The account for a checkpoint's provenance: ``source``, ``sha256`` of the source's tensors and its ``license``
        (or "unknown"), ``config``, the mapping report (``summary``, ``notes``, ``rows``) and the names left ``fresh``.

    Raises:
        CheckpointError: the source does not fit; the model is as it was.
        ConfigError: an option that means nothing for this source or model.
    """
    labels = tuple(name for head in protocol.labels.values() for name in head)
    rows = None
    if init.keep_head and isinstance(source, ImageViT):
        _check_labels(source, labels)
    elif init.keep_head and isinstance(source, VideoSource):
        rows = _rows_of(source, protocol)
    state, report = _mapped(model, source, init, rows)
    model.load_state_dict(state)
    account = report.to_dict()
    license_note = [f"license: {source.license}, of {source.name}, holds for this model too"] if source.license else []
    account["notes"] += [_head_note(init, labels, source, rows), *license_note, *_pixel_notes(source, protocol)]
    return {
        "source": source.name,
        "sha256": source.sha256,
        "license": source.license or "unknown",
        "config": config_io.to_dict(init),
        "fresh": [*report.fresh, *_partly_fresh(source, model)],
        **account,
    }


def _mapped(
    model: nn.Module, source: InitSource, init: InitConfig, head_rows: list[int] | None
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict by the way that the kinds of the two ask for."""
    match source, model:
        case VideoSource(), _:
            _check_is_for_video(init, source)
            return from_video(source, model, init.keep_head, head_rows)
        case ImageNetwork(), VTN():
            return backbone_init.from_network(source, model, init)
        case ImageNetwork(), UniFormerV2() | UniFormerV2Local():
            return trunk_init.from_network(source, model, init)
        case ImageViT(), TimeSformer():
            return timesformer.from_image(source, model, init)
        case ImageViT(), _ if isinstance(getattr(model, "config", None), ViViTConfig):
            return from_image(source, model, init)
    raise ConfigError(
        f"{source.name} is an image model, which starts a ViViT, TimeSformer, UniFormerV2 or VTN; "
        f"{type(model).__name__} starts from a checkpoint of its own kind"
    )


def _partly_fresh(source: InitSource, model: nn.Module) -> list[str]:
    """A position table whose row for the class token is the model's own, since the image model has none."""
    if not isinstance(source, ImageViT) or source.has_class_token:
        return []
    name = f"{prefix_of(model)}pos_embed"
    return [f"{name}.table"] if position_table(model).num_prefix else []


def _check_labels(source: ImageViT, labels: tuple[str, ...]) -> None:
    if source.labels != labels:
        known = "does not say its classes" if source.labels is None else f"tells {_first(source.labels)} apart"
        raise ConfigError(
            f"init.keep_head takes the classifier of {source.name} along, which {known}; the data have "
            f"{_first(labels)}: leave init.keep_head out"
        )


def _rows_of(source: VideoSource, protocol: Protocol) -> list[int] | None:
    """The rows of the checkpoint's classifier that the data's classes ask for; none: all, in their order.

    Raises:
        ConfigError: a class of the data that the checkpoint does not have.
    """
    theirs = [name for head in source.protocol.labels.values() for name in head]
    rows, absent = rows_by_name(source.protocol, protocol)
    if absent:
        raise ConfigError(
            f"init.keep_head takes the classifier of {source.name} along by class name, which tells {_first(theirs)} "
            f"apart and lacks {len(absent)} of the data's {len(rows) + len(absent)} classes: {_first(absent)}; leave "
            "init.keep_head out, or give the checkpoint its class names (tubelet convert --labels)"
        )
    return None if rows == list(range(len(theirs))) else rows


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _check_is_for_video(init: InitConfig, source: VideoSource) -> None:
    """Options of image models are refused where they would do nothing."""
    plain = InitConfig(source=init.source)
    for name in ("tokenizer", "positions", "temporal_attention", "spatial_class_token", "image_grid"):
        if getattr(init, name) != getattr(plain, name):
            raise ConfigError(f"init.{name} is for image models; {source.name} is a video model: leave it out")


def _head_note(init: InitConfig, labels: tuple[str, ...], source: InitSource, rows: list[int] | None) -> str:
    named = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
    how = "taken along" if init.keep_head else "made fresh"
    if rows is not None and isinstance(source, VideoSource):
        how += f" by class name, {len(rows)} of {sum(map(len, source.protocol.labels.values()))} rows,"
    return f"head: {how} for {len(labels)} classes ({named})"


def _pixel_notes(source: InitSource, protocol: Protocol) -> list[str]:
    """Other pixels than the weights were trained on are allowed, but said."""
    of = source.protocol if isinstance(source, VideoSource) else source
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
