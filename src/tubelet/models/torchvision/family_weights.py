"""How torchvision's networks get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights
from tubelet.models.torchvision import weights

WEIGHTS = FamilyWeights(
    converters={"torchvision": weights.convert},
)
