"""How V-JEPA 2s get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, VideoStart
from tubelet.models.vjepa2 import from_video, huggingface, huggingface_folder, weights
from tubelet.weights.mapping.converter import HuggingFaceModel

WEIGHTS = FamilyWeights(
    converters={"vjepa2": weights.convert},
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="V-JEPA 2",
            convert=huggingface.convert,
            original=huggingface.original_logits,
            write=huggingface_folder.huggingface_folder,
        ),
    },
    video_start=VideoStart(grid_fields=("num_frames", "image_size"), fresh=from_video.fresh_of_video),
)
