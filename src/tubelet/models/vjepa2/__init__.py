"""V-JEPA 2: encoders pre-trained by predicting their own tokens, and attentive probes (arXiv 2506.09985)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.vjepa2.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.vjepa2.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="vjepa2",
    title="V-JEPA 2",
    models=MODELS,
    weights=_weights,
    formats={
        "vjepa2": Format(about="released V-JEPA 2 encoder (.pt), or a folder with an encoder and a probe for it"),
    },
    huggingface={"vjepa2": "VJEPA2ForVideoClassification"},
)
