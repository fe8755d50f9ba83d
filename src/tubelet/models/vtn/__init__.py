"""VTN: any image network on every frame, then a Longformer over the frames (arXiv 2102.00719)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.vtn.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.vtn.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="vtn",
    title="VTN",
    models=MODELS,
    weights=_weights,
    formats={"vtn": Format(about="released VTN: a training checkpoint of PySlowFast (.pyth)")},
    backbone_field="backbone",
    frame_stage="VTN",
    cost_convention="VTN leaves the products inside attention out: the count here is 4 % more",
)
