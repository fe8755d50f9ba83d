"""A toy family: the patches of an image ViT, their mean over space and time, and a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.toy.variants import MODELS

from tubelet.models.family import Family
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.toy.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="toy",
    title="Toy",
    models=MODELS,
    weights=_weights,
    formats={"toybox": Format(about="a toy's weights (.pth) under the names of its box")},
    frame_stage="Toy",
)
