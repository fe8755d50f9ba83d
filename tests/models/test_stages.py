"""Features of frames that are kept for a film hold their own values and no more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tubelet.models import create_model
from tubelet.models.stages import frame_features

VIT = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 8}
SMALL = {"embed_dim": 24, "depth": 1, "num_heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "vtn_deit_ti16": {"backbone_fields": VIT, "num_heads": 2, "hidden_dim": 16, "head_dim": 16, "depth": 1},
    "vivit_ti16x2_fe": {**SMALL, "tubelet_size": [2, 8, 8], "temporal_depth": 1},
    "timesformer_ti16_space": {**SMALL, "patch_size": 8},
    "uniformerv2_ti16": {**SMALL, "patch_size": 8, "global_layers": 1},
    "videoprism_b18": {**SMALL, "patch_size": 8, "temporal_depth": 1},
}


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_kept_features_hold_no_more_memory_than_their_values(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=2, num_frames=4, image_size=[32, 32], **MODELS[name]).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    features = frame_features(model, clip, None)
    for values in (features.vectors, *features.tokens):
        assert values.untyped_storage().nbytes() == values.numel() * values.element_size()
    assert features.vectors.equal(model.encode_frames(clip).vectors)
