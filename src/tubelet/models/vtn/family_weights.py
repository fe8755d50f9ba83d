"""How VTNs get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, ImageStart
from tubelet.models.vtn import from_image, weights

WEIGHTS = FamilyWeights(
    converters={"vtn": weights.convert},
    image_start=ImageStart(
        prepare=from_image.prepare,
        fields=from_image.backbone_fields,
        state=from_image.from_network,
        suggest=from_image.suggest,
    ),
)
