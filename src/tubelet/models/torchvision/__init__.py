"""torchvision's video networks, with the interface of the other models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.torchvision.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.torchvision.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="torchvision",
    title="torchvision's networks",
    models=MODELS,
    weights=_weights,
    formats={"torchvision": Format(about="torchvision's weights of its video networks (.pth)")},
    cost_convention="torchvision states its networks' cost for 16 frames, whatever number it trained them on",
)
