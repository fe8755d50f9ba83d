"""TimeSformer: divided, joint and space-only attention ("Is Space-Time Attention All You Need?", arXiv 2102.05095)."""

from __future__ import annotations

from tubelet.models.family import Family, ImageStart
from tubelet.models.timesformer import from_image, huggingface, weights
from tubelet.models.timesformer.variants import MODELS
from tubelet.weights.mapping.converter import HuggingFaceModel, Source

FAMILY = Family(
    name="timesformer",
    title="TimeSformer",
    models=MODELS,
    sources={
        "timesformer": Source(
            about="released TimeSformer (.pyth); its code and weights are for non-commercial use (CC-BY-NC 4.0)",
            convert=weights.convert,
        ),
    },
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="TimeSformer",
            architecture="TimesformerForVideoClassification",
            convert=huggingface.convert,
            original=huggingface.original_logits,
            write=huggingface.huggingface_folder,
        ),
    },
    image_start=ImageStart(prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image),
    frame_stage="space-only TimeSformer",
    cost_convention="TimeSformer prints the multiply-adds of three views; they are divided by three",
)
