"""Which function checks which parity case, and the cases whose model or function does not exist yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parity import huggingface, image_init, multihead, timesformer, uniformerv2, vivit, vtn

# Families and cases still to be built; whoever builds one removes its row.
PENDING: list[str] = []

Check = Callable[[Path, dict[str, Any]], None]  # case folder, its config.json

# Which function checks a case: the first whose pattern fits its name.
CHECKS: list[tuple[str, Check]] = [
    ("vivit/model*", vivit.check_vivit_model),
    ("vivit/multihead_metrics*", multihead.check_multihead),
    ("vivit/frame_sampling", vivit.check_frame_sampling),
    ("vivit/lr_schedule", vivit.check_lr_schedule),
    ("vivit/init_*", image_init.check_init),
    ("vivit/hf_model*", huggingface.check_model),
    ("vivit/hf_preprocess", huggingface.check_preprocess),
    ("vtn/*", vtn.check_vtn),
    ("timesformer/*_hf", timesformer.check_huggingface),
    ("timesformer/vit_init_*", timesformer.check_image_init),
    ("timesformer/*", timesformer.check_timesformer),
    ("uniformerv2/train_step", uniformerv2.check_train_step),
    ("uniformerv2/clip_inflation_*", uniformerv2.check_clip_inflation),
    ("uniformerv2/*", uniformerv2.check_uniformerv2),
]

# Which function checks a manifest of a real-size checkpoint, given its content.
MANIFEST_CHECKS: list[tuple[str, Callable[[Mapping[str, Any]], None]]] = [
    ("vivit/manifest_scenic_*", vivit.check_scenic_manifest),
    ("vivit/manifest_hf_*", huggingface.check_manifest),
    ("vtn/manifest_*", vtn.check_vtn_manifest),
    ("timesformer/manifest_*", timesformer.check_manifest),
    ("uniformerv2/manifest_*", uniformerv2.check_uniformerv2_manifest),
]
