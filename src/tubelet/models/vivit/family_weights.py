"""How ViViTs get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, ImageStart, VideoStart
from tubelet.models.vivit import from_image, from_video, huggingface, weights
from tubelet.weights.mapping.converter import HuggingFaceModel

WEIGHTS = FamilyWeights(
    converters={"scenic": weights.convert},
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="of ViViT Model 1 only (vivit_*_joint)",
            convert=huggingface.convert,
            original=huggingface.original_logits,
            write=huggingface.huggingface_folder,
        ),
    },
    writers={"scenic": weights.to_scenic},
    image_start=ImageStart(
        prepare=from_image.prepare, fields=from_image.fields, state=from_image.from_image, suggest=from_image.suggest
    ),
    video_start=VideoStart(grid_fields=("num_frames", "image_size"), changes=from_video.changes_of_video),
    as_image=from_video.as_image,
)
