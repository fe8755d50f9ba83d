"""UniFormerV2: local and global UniBlocks on an image ViT (arXiv 2211.09552)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.uniformerv2.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.uniformerv2.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="uniformerv2",
    title="UniFormerV2",
    models=MODELS,
    weights=_weights,
    formats={
        "uniformerv2": Format(
            about="released UniFormerV2 (.pyth), or MMAction2's (.pth); --model.head_rows 400 for K400 out of K710"
        ),
    },
    cost_convention="UniFormerV2 prints one or two digits for all views together; they are divided by the views",
)
