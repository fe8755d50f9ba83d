"""How toys get their weights."""

from __future__ import annotations

from tubelet.models.toy import from_image, weights

from tubelet.models.family_weights import FamilyWeights, ImageStart

WEIGHTS = FamilyWeights(
    converters={"toybox": weights.convert},
    image_start=ImageStart(prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image),
)
