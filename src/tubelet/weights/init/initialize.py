"""The first weights of a video model from another model, with the provenance that a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import ConfigError
from tubelet.models import family_of_model
from tubelet.protocol import Protocol
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import InitSource
from tubelet.weights.init.video import VideoSource, from_video, rows_by_name
from tubelet.weights.mapping.image_model import ImageModel
from tubelet.weights.mapping.plain_vit import PlainViT
from tubelet.weights.mapping.rules import MappingReport


def initialize(model: nn.Module, source: InitSource, init: InitConfig, protocol: Protocol) -> dict[str, Any]:
    """Load the weights that ``source`` gives into ``model``; what it has no counterpart of keeps its first values.

    Args:
        source: as ``read_source`` gives it for this model.
        protocol: of the new model; its labels are those that the classifier is made for.

    Returns:
        The provenance of the first weights: ``source``, ``sha256`` of the source's tensors and its ``license`` (or
        "unknown"), ``config``, the mapping report (``summary``, ``notes``, ``rows``) and the names left ``fresh``.

    Raises:
        CheckpointError: the source does not fit; the model is as it was.
        ConfigError: an option that means nothing for this source or model.
    """
    labels = tuple(name for head in protocol.labels.values() for name in head)
    rows = None
    if init.keep_head and isinstance(source, PlainViT):
        _check_labels(source, labels)
    elif init.keep_head and isinstance(source, VideoSource):
        rows = _rows_of(source, protocol)
    state, report = _state(model, source, init, rows)
    model.load_state_dict(state)
    mapping = report.to_dict()
    license_note = [f"license: {source.license}, of {source.name}, holds for this model too"] if source.license else []
    mapping["notes"] += [_head_note(init, labels, source, rows), *license_note, *_pixel_notes(source, protocol)]
    return {
        "source": source.name,
        "sha256": source.sha256,
        "license": source.license or "unknown",
        "config": config_io.to_dict(init),
        "fresh": [*report.fresh, *report.partly_fresh],
        **mapping,
    }


def _state(
    model: nn.Module, source: InitSource, init: InitConfig, head_rows: list[int] | None
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict by the rules of the model's family, or from a checkpoint of its own kind."""
    if isinstance(source, VideoSource):
        _check_is_for_video(init, source)
        return from_video(source, model, init.keep_head, head_rows)
    start = family_of_model(model).weights().image_start
    if start is None:
        raise ConfigError(
            f"{source.name} is an image model; {type(model).__name__} starts from a checkpoint of its own kind"
        )
    return start.state(source, model, init)


def _check_labels(source: PlainViT, labels: tuple[str, ...]) -> None:
    if source.labels != labels:
        known = "does not say its classes" if source.labels is None else f"tells {_first(source.labels)} apart"
        raise ConfigError(
            f"init.keep_head takes the classifier of {source.name} along, which {known}; the data have "
            f"{_first(labels)}: leave init.keep_head out"
        )


def _rows_of(source: VideoSource, protocol: Protocol) -> list[int] | None:
    """The rows of the checkpoint's classifier that the data's classes ask for; None means all, in their order.

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
    for name in init.changed():
        if name != "keep_head":
            raise ConfigError(f"init.{name} is for image models; {source.name} is a video model: leave it out")


def _head_note(init: InitConfig, labels: tuple[str, ...], source: InitSource, rows: list[int] | None) -> str:
    named = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
    how = "taken along" if init.keep_head else "made fresh"
    if rows is not None and isinstance(source, VideoSource):
        how += f" by class name, {len(rows)} of {sum(map(len, source.protocol.labels.values()))} rows,"
    return f"head: {how} for {len(labels)} classes ({named})"


def _pixel_notes(source: InitSource, protocol: Protocol) -> list[str]:
    """Other pixels than the weights were trained on are allowed, but said."""
    of = source.facts if isinstance(source, ImageModel) else source.protocol
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
