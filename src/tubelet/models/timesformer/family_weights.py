"""How TimeSformers get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, ImageStart
from tubelet.models.timesformer import from_image, huggingface, weights
from tubelet.weights.mapping.converter import HuggingFaceModel

WEIGHTS = FamilyWeights(
    converters={"timesformer": weights.convert},
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="TimeSformer",
            convert=huggingface.convert,
            original=huggingface.original_logits,
            write=huggingface.huggingface_folder,
        ),
    },
    image_start=ImageStart(prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image),
)
