"""What a named model has in parameters and costs in multiply-adds, counted once a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from tubelet.evaluation.cost import ClipShape, count_macs, count_parameters
from tubelet.models import create_model, model_config


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model of `tubelet models`."""

    name: str
    parameters: int
    gmacs_per_view: float
    clip_shape: ClipShape  # channels, frames, height, width


@cache
def row_of_model(name: str) -> ModelRow:
    """Count parameters and multiply-adds of a named model, without computing or allocating weights."""
    config = model_config(name)
    clip_shape = (config.in_channels, config.num_frames, *config.image_size)
    with torch.device("meta"):
        model = create_model(name)
    return ModelRow(
        name=name,
        parameters=count_parameters(model),
        gmacs_per_view=count_macs(model, clip_shape) / 1e9,
        clip_shape=clip_shape,
    )
