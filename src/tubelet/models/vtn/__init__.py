"""VTN: any image network on every frame, then a Longformer over the frames (arXiv 2102.00719)."""

from __future__ import annotations

from tubelet.models.family import Family, ImageStart
from tubelet.models.vtn import from_image, weights
from tubelet.models.vtn.variants import MODELS
from tubelet.weights.mapping.converter import Source

FAMILY = Family(
    name="vtn",
    title="VTN",
    models=MODELS,
    sources={
        "vtn": Source(about="released VTN: a training checkpoint of PySlowFast (.pyth)", convert=weights.convert),
    },
    image_start=ImageStart(
        prepare=from_image.prepare,
        fields=from_image.backbone_fields,
        state=from_image.from_network,
        suggest=from_image.suggest,
    ),
    backbone_field="backbone",
    frame_stage="VTN",
    cost_convention="VTN leaves the products inside attention out: the count here is 4 % more",
)
