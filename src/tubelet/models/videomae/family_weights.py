"""How VideoMAEs get their weights."""

from __future__ import annotations

from tubelet.models.family_weights import FamilyWeights, VideoStart
from tubelet.models.videomae import from_video, huggingface, huggingface_folder, weights
from tubelet.weights.mapping.converter import HuggingFaceModel

WEIGHTS = FamilyWeights(
    converters={"videomae": weights.convert},
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="VideoMAE",
            convert=huggingface.convert,
            original=huggingface.original_logits,
            write=huggingface_folder.huggingface_folder,
        ),
    },
    video_start=VideoStart(changes=from_video.changes_of_video, fresh=from_video.fresh_of_video),
)
