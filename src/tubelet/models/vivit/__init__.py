"""ViViT: Models 1 to 4 and the average-pool baseline ("ViViT: A Video Vision Transformer", arXiv 2103.15691)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.family import Family
from tubelet.models.vivit.variants import MODELS
from tubelet.weights.mapping.format import Format

if TYPE_CHECKING:
    from tubelet.models.family_weights import FamilyWeights


def _weights() -> FamilyWeights:
    from tubelet.models.vivit.family_weights import WEIGHTS

    return WEIGHTS


FAMILY = Family(
    name="vivit",
    title="ViViT",
    models=MODELS,
    weights=_weights,
    formats={
        "scenic": Format(
            about="official ViViT, Models 1 to 4: a flax checkpoint file or its parameters as .npz",
            clip_axes="B T H W C",
        ),
    },
    huggingface={"vivit": "VivitForVideoClassification"},
    frame_stage="ViViT of tubelet_size 1",
    cost_convention="ViViT's papers add element-wise work at half weight: up to 1 % more than counted here; the "
    "100.7 M of Model 2 are those of two temporal layers, its GMACs those of four",
)
