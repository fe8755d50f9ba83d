"""Parts of the per-frame stage's output along time, for models that have the two stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from tubelet.data.clips.normalize import normalize
from tubelet.errors import ConfigError
from tubelet.models.stages import frame_features
from tubelet.protocol import Protocol
from tubelet.types import FrameFeatures

# Frames that go through the per-frame stage together in chunked mode, or a tubelet where that is more.
FRAMES_AT_ONCE = 32


def features_in_chunks(
    model: nn.Module,
    clips: UInt8[Tensor, "B C T H W"],
    frame_numbers: Int[Tensor, "B T"] | None,
    protocol: Protocol,
    device: torch.device,
) -> FrameFeatures:
    """What the per-frame stage gives for whole clips, computed part by part: memory does not grow with the clip but by
    its features.

    Raises:
        ConfigError: the model has no per-frame stage.
    """
    tubelet = getattr(model, "frames_per_feature", None)
    if tubelet is None:
        raise ConfigError(f"chunked mode needs a per-frame stage, {type(model).__name__} has none; use end_to_end")
    size = max(1, FRAMES_AT_ONCE // len(clips) // tubelet) * tubelet
    parts = []
    for start in range(0, clips.shape[2], size):
        numbers = None if frame_numbers is None else frame_numbers[:, start : start + size]
        pixels = normalize(clips[:, :, start : start + size].to(device, non_blocking=True), protocol)
        parts.append(frame_features(model, pixels, numbers))
    return join_in_time(parts)


def cut_features(features: FrameFeatures, start: int, stop: int) -> FrameFeatures:
    """Time indices ``start`` to ``stop`` (excluded)."""
    return _each(lambda x: x[0][:, start:stop], [features])


def take_features(features: FrameFeatures, indices: Sequence[int]) -> FrameFeatures:
    """These time indices, in this order; they may repeat."""
    return _each(lambda x: x[0][:, torch.tensor(indices, device=x[0].device)], [features])


def join_in_time(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """One behind the other along time."""
    return parts[0] if len(parts) == 1 else _each(lambda xs: torch.cat(list(xs), dim=1), parts)


def join_in_batch(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """One batch of all: shorter videos are padded with zeros behind their end, where ``valid`` is then False.

    Each video's logits are those that it gets alone, to rounding. Equally long ones without ``valid`` keep none.
    """
    if len(parts) == 1:
        return parts[0]
    lengths = [part.vectors.shape[1] for part in parts]
    if len(set(lengths)) > 1 or any(part.valid is not None for part in parts):
        parts = [dataclasses.replace(part, valid=_valid(part)) for part in parts]
    return _each(lambda xs: torch.cat([_padded(x, max(lengths)) for x in xs]), parts)


def counted_from_first(features: FrameFeatures) -> FrameFeatures:
    """The same with positions counted from the earliest of each row, as those of a clip are."""
    if features.position is None:
        return features
    first = features.position.amin(dim=1, keepdim=True)  # B 1
    return dataclasses.replace(features, position=features.position - first)


def _valid(features: FrameFeatures) -> Tensor:
    """``valid`` written out: B T."""
    if features.valid is not None:
        return features.valid
    return torch.ones(features.vectors.shape[:2], dtype=torch.bool, device=features.vectors.device)


def _padded(values: Tensor, length: int) -> Tensor:
    """``length`` time indices, zeros (or False) behind those that are there."""
    missing = length - values.shape[1]
    if not missing:
        return values
    return torch.cat([values, values.new_zeros(len(values), missing, *values.shape[2:])], dim=1)


def _each(change: Callable[[Sequence[Tensor]], Tensor], parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """Every tensor of the features changed alike, those of each layer too; what is no tensor stays."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(FrameFeatures):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "tokens":
            changed[field.name] = tuple(change(layer) for layer in zip(*values, strict=True))
        else:
            changed[field.name] = change(values) if isinstance(values[0], Tensor) else values[0]
    return FrameFeatures(**changed)
