"""VideoMAE and VideoMAE V2: encoders pre-trained by painting masked tubelets (arXiv 2203.12602, 2303.16727)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.videomae.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.videomae.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="videomae",
    title="VideoMAE",
    models=MODELS,
    weights=_weights,
    formats={
        "videomae": Format(
            about="released VideoMAE (.pth), fine-tuned or pre-trained; its code and weights are for non-commercial "
            "use (CC-BY-NC 4.0)"
        ),
    },
    huggingface={"videomae": "VideoMAEForVideoClassification"},
    cost_convention="VideoMAE's own code states no multiply-adds; MMAction2's are those of one view, as tubelet counts",
)
