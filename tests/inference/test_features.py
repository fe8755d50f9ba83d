"""Videos of different length in one batch: each gets the logits that it gets alone, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tubelet.inference.feature_slices import join_in_batch
from tubelet.models import create_model
from tubelet.models.stages import encode_time, frame_features
from tubelet.types import FrameFeatures

TRANSFORMER: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
VTN: dict[str, Any] = {"backbone_fields": TRANSFORMER, "num_heads": 2, "hidden_dim": 16, "attention_window": [4]}
VIVIT: dict[str, Any] = {"tubelet_size": [2, 8, 8], "embed_dim": 24, "depth": 1, "num_heads": 2, "num_frames": 12}
UNIFORMER: dict[str, Any] = {**TRANSFORMER, "global_layers": 1}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vtn_vit_b16", VTN),
        ("vivit_ti16x2_avgpool", VIVIT),
        ("uniformerv2_ti16", UNIFORMER),
    ],
)
def test_videos_joined_in_a_batch_get_the_logits_they_get_alone(name: str, fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, image_size=[16, 16], **fields).eval()
    torch.nn.init.normal_(next(p for n, p in model.named_parameters() if n.startswith("head") and p.ndim == 2))
    clips = [torch.randn(1, 3, length, 16, 16) for length in (12, 4, 8)]
    with torch.inference_mode():
        parts = [frame_features(model, clip, torch.arange(clip.shape[2])[None] * 3) for clip in clips]
        joined = join_in_batch(parts)
        logits = encode_time(model, joined)
        assert logits.std(0).max() > 1e-3
        for row, part in zip(logits, parts, strict=True):
            torch.testing.assert_close(row, encode_time(model, part)[0], rtol=1e-4, atol=1e-5)
    assert joined.valid is not None
    assert joined.valid.sum(1).tolist() == [part.vectors.shape[1] for part in parts]


def test_a_mask_that_is_there_goes_on_and_equal_lengths_need_none() -> None:
    long, short = FrameFeatures(vectors=torch.ones(1, 3, 2)), FrameFeatures(vectors=torch.ones(2, 2, 2))
    assert join_in_batch([long, long]).valid is None
    both = join_in_batch([long, short])
    again = join_in_batch([both, both])
    assert again.valid is not None
    assert again.valid.tolist() == [[True] * 3, *[[True, True, False]] * 2] * 2
