"""A toy family: the patches of an image ViT, their mean over space and time, and a linear layer."""

from __future__ import annotations

from tubelet.models.toy import from_image, weights
from tubelet.models.toy.variants import MODELS

from tubelet.models.family import Family, ImageStart
from tubelet.weights.mapping.converter import Source

FAMILY = Family(
    name="toy",
    title="Toy",
    models=MODELS,
    sources={"toybox": Source(about="a toy's weights (.pth) under the names of its box", convert=weights.convert)},
    image_start=ImageStart(prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image),
    frame_stage="Toy",
)
