"""How VideoPrisms get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights
from tubelet.models.videoprism import huggingface, weights
from tubelet.weights.mapping.converter import HuggingFaceModel

_HUGGINGFACE = HuggingFaceModel(
    about="of VideoPrism's classifier that pools at intermediate_size",
    convert=huggingface.convert,
    original=huggingface.original_logits,
    write=huggingface.huggingface_folder,
)

WEIGHTS = FamilyWeights(
    converters={"videoprism": weights.convert},
    huggingface={huggingface.MODEL_TYPE: _HUGGINGFACE, huggingface.CLIP_TYPE: _HUGGINGFACE},
    writers={"videoprism": weights.to_official},
)
