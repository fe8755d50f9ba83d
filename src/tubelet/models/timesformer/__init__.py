"""TimeSformer: divided, joint and space-only attention ("Is Space-Time Attention All You Need?", arXiv 2102.05095)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.timesformer.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.timesformer.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="timesformer",
    title="TimeSformer",
    models=MODELS,
    weights=_weights,
    formats={
        "timesformer": Format(
            about="released TimeSformer (.pyth); its code and weights are for non-commercial use (CC-BY-NC 4.0)"
        ),
    },
    huggingface={"timesformer": "TimesformerForVideoClassification"},
    frame_stage="space-only TimeSformer",
    cost_convention="TimeSformer prints the multiply-adds of three views; they are divided by three",
)
