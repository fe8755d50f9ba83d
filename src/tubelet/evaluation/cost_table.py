"""What the models cost beside what their papers say: parameters and multiply-adds of one view and of a video.

A source's figure is set beside the count of the same clip. Sources count in their own ways: see ``CONVENTIONS``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import FAMILIES, create_model, list_models, model_config
from tubelet.published import PublishedCost, published_costs

# What the families say of how their sources count, by how the names of their models begin.
CONVENTIONS = {family.name: family.cost_convention for family in FAMILIES if family.cost_convention is not None}


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One model on one clip, and what a source says of it."""

    model: str
    frames: int
    size: tuple[int, int]  # height and width in pixels
    views: str | None  # temporal clips x spatial crops, as the source tests; None means that it does not say
    parameters: int
    gmacs_per_view: float
    published: PublishedCost | None

    @property
    def gmacs_per_video(self) -> float | None:
        """Of all views."""
        if self.views is None:
            return None
        clips, crops = map(int, self.views.split("x"))
        return self.gmacs_per_view * clips * crops

    @property
    def ratio(self) -> float | None:
        """Counted over published multiply-adds of one view."""
        if self.published is None or self.published.gmacs is None:
            return None
        return self.gmacs_per_view / self.published.gmacs


def plan_rows(contains: str = "") -> list[tuple[str, PublishedCost | None]]:
    """Every model whose name contains a text with each of its published costs, or with none."""
    rows: list[tuple[str, PublishedCost | None]] = []
    for name in list_models(contains):
        rows += [(name, cost) for cost in published_costs() if cost.model == name] or [(name, None)]
    return rows


def make_row(name: str, cost: PublishedCost | None) -> CostRow:
    """Counted on the clip of the published figure, or on the one that the model is made for. Nothing is computed."""
    config = model_config(name)
    frames = config.num_frames if cost is None else cost.frames
    size = tuple(config.image_size) if cost is None else (cost.pixels, cost.pixels)
    parameters, macs = _counts(name, frames, size)
    return CostRow(
        model=name,
        frames=frames,
        size=size,
        views=None if cost is None else cost.views,
        parameters=parameters,
        gmacs_per_view=macs / 1e9,
        published=cost,
    )


@functools.cache
def _counts(name: str, frames: int, size: tuple[int, int]) -> tuple[int, int]:
    with torch.device("meta"):
        model = create_model(name, num_frames=frames, image_size=size)
    return count_parameters(model), count_macs(model, (model_config(name).in_channels, frames, *size))
