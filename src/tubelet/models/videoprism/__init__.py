"""VideoPrism: a factorized video encoder with attention pooling (arXiv 2402.13217)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.videoprism.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.videoprism.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="videoprism",
    title="VideoPrism",
    models=MODELS,
    weights=_weights,
    formats={
        "videoprism": Format(
            about="official VideoPrism (.npz or flax); its encoders have no classifier: give the new one's --labels",
            clip_axes="B T H W C",
        ),
    },
    huggingface={
        "videoprism_vision_model": "VideoPrismForVideoClassification",
        "videoprism": "VideoPrismClipModel",
    },
)
