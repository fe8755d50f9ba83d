"""UniFormerV2: local and global UniBlocks on an image ViT (arXiv 2211.09552)."""

from __future__ import annotations

from tubelet.models.family import Family, ImageStart
from tubelet.models.uniformerv2 import from_image, weights
from tubelet.models.uniformerv2.variants import MODELS
from tubelet.weights.mapping.converter import Source

FAMILY = Family(
    name="uniformerv2",
    title="UniFormerV2",
    models=MODELS,
    sources={
        "uniformerv2": Source(
            about="released UniFormerV2 (.pyth), or MMAction2's (.pth); --model.head_rows 400 for K400 out of K710",
            convert=weights.convert,
        ),
    },
    image_start=ImageStart(
        prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image, suggest=from_image.suggest
    ),
    cost_convention="UniFormerV2 prints one or two digits for all views together; they are divided by the views",
)
