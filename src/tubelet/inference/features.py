"""Parts of the per-frame stage's output along time, for models that have the two stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tubelet.types import FrameFeatures


def cut_features(features: FrameFeatures, start: int, stop: int) -> FrameFeatures:
    """Time indices ``start`` to ``stop`` (excluded)."""
    return _each(lambda x: x[0][:, start:stop], [features])


def join_in_time(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """One behind the other along time."""
    return parts[0] if len(parts) == 1 else _each(lambda xs: torch.cat(list(xs), dim=1), parts)


def join_in_batch(parts: Sequence[FrameFeatures]) -> FrameFeatures:
    """One batch of all, which must be equally long."""
    return parts[0] if len(parts) == 1 else _each(lambda xs: torch.cat(list(xs)), parts)


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
