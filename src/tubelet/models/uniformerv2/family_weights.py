"""How UniFormerV2s get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, ImageStart
from tubelet.models.uniformerv2 import from_image, weights

WEIGHTS = FamilyWeights(
    converters={"uniformerv2": weights.convert},
    image_start=ImageStart(
        prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image, suggest=from_image.suggest
    ),
)
