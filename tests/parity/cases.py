"""Which function checks which kind of parity case, and the kinds whose model or function does not exist yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parity import (
    huggingface,
    image_init,
    multihead,
    timesformer,
    uniformerv2,
    videomae,
    videoprism,
    vivit,
    vjepa2,
    vtn,
)

# Families and kinds (``family`` or ``family/kind``) still to be built; whoever builds one removes its row.
PENDING: list[str] = []

Check = Callable[[Path, dict[str, Any]], None]  # case folder, its config.json

# Which function checks a case, by ``family/kind`` (see kinds.py).
CHECKS: dict[str, Check] = {
    "vivit/model": vivit.check_vivit_model,
    "vivit/multihead": multihead.check_multihead,
    "vivit/frame_sampling": vivit.check_frame_sampling,
    "vivit/lr_schedule": vivit.check_lr_schedule,
    "vivit/init": image_init.check_init,
    "vivit/hf_model": huggingface.check_model,
    "vivit/hf_preprocess": huggingface.check_preprocess,
    "vtn/model": vtn.check_vtn,
    "timesformer/model": timesformer.check_timesformer,
    "timesformer/hf_model": timesformer.check_huggingface,
    "timesformer/image_init": timesformer.check_image_init,
    "uniformerv2/model": uniformerv2.check_uniformerv2,
    "uniformerv2/train_step": uniformerv2.check_train_step,
    "uniformerv2/image_init": uniformerv2.check_image_init,
    "videomae/videomae_classifier": videomae.check_classifier,
    "videomae/videomae_pretraining": videomae.check_pretraining,
    "videomae/frame_sampling": videomae.check_frame_sampling,
    "videomae/hf_preprocess": videomae.check_preprocess,
    "vjepa2/vjepa2_encoder": vjepa2.check_encoder,
    "vjepa2/vjepa2_predictor": vjepa2.check_predictor,
    "vjepa2/vjepa2_probe": vjepa2.check_probe,
    "vjepa2/vjepa2_model": vjepa2.check_model,
    "vjepa2/vjepa2_classifier": vjepa2.check_classifier,
    "vjepa2/frame_sampling": vjepa2.check_frame_sampling,
    "vjepa2/hf_preprocess": vjepa2.check_preprocess,
    "videoprism/videoprism_encoder": videoprism.check,
    "videoprism/videoprism_classifier": videoprism.check,
    "videoprism/videoprism_video_clip": videoprism.check,
    "videoprism/frame_sampling": videoprism.check_frame_sampling,
    "videoprism/hf_preprocess": videoprism.check_preprocess,
}

# Which function checks a manifest of a real-size checkpoint, given its content.
MANIFEST_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "vivit/manifest": vivit.check_scenic_manifest,
    "vivit/hf_manifest": huggingface.check_manifest,
    "vtn/manifest": vtn.check_vtn_manifest,
    "timesformer/manifest": timesformer.check_manifest,
    "uniformerv2/manifest": uniformerv2.check_uniformerv2_manifest,
    "videomae/manifest": videomae.check_manifest,
    "videomae/hf_manifest": videomae.check_manifest,
    "vjepa2/manifest": vjepa2.check_manifest,
    "vjepa2/hf_manifest": vjepa2.check_huggingface_manifest,
    "videoprism/manifest": videoprism.check_manifest,
    "videoprism/hf_manifest": videoprism.check_manifest,
}


def is_pending(key: str) -> bool:
    """Whether ``family/kind`` waits to be built."""
    return key in PENDING or key.partition("/")[0] in PENDING
