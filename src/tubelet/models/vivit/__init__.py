"""ViViT: Models 1 to 4 and the average-pool baseline ("ViViT: A Video Vision Transformer", arXiv 2103.15691)."""

from __future__ import annotations

from tubelet.models.family import Family, ImageStart, VideoStart
from tubelet.models.vivit import from_image, from_video, huggingface, weights
from tubelet.models.vivit.variants import MODELS
from tubelet.weights.mapping.converter import HuggingFaceModel, Source

FAMILY = Family(
    name="vivit",
    title="ViViT",
    models=MODELS,
    sources={
        "scenic": Source(
            about="official ViViT, Models 1 to 4: a flax checkpoint file or its parameters as .npz",
            convert=weights.convert,
            clip_axes="B T H W C",
        ),
    },
    huggingface={
        huggingface.MODEL_TYPE: HuggingFaceModel(
            about="of ViViT Model 1 only (vivit_*_joint)",
            architecture="VivitForVideoClassification",
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
    frame_stage="ViViT of tubelet_size 1",
    cost_convention="ViViT's papers add element-wise work at half weight: up to 1 % more than counted here; the "
    "100.7 M of Model 2 are those of two temporal layers, its GMACs those of four",
)
