"""A run as a folder of transformers: its own pipeline gives our scores for the frames that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

import tubelet
from tubelet import cli
from tubelet.config import to_dict
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint

SMALL: dict[str, Any] = {"num_frames": 4, "image_size": (16, 16), "embed_dim": 16, "depth": 1, "num_heads": 2}
LABELS = {"label": ("a", "b", "c")}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vivit_ti16x2_joint", {"tubelet_size": (2, 8, 8)}),
        ("timesformer_ti16_divided", {"patch_size": 8}),
        ("videomae_s16", {"tubelet_size": (2, 8, 8)}),
    ],
)
def test_the_pipeline_of_transformers_gives_the_scores_of_one_view(
    name: str, fields: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = create_model(name, **SMALL, **fields, num_classes=3).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    protocol = Protocol(num_frames=4, frame_stride=1, resize_short_side=20, crop_size=(16, 16), labels=LABELS)
    record = Record(model_name=name, model_config=to_dict(model.config), protocol=protocol, provenance={})
    save_checkpoint(tmp_path / "ours", model, record)
    assert (
        cli.main(["convert", "tubelet", str(tmp_path / "ours"), str(tmp_path / "theirs"), "--to", "huggingface"]) == 0
    )
    card = (tmp_path / "theirs" / "README.md").read_text(encoding="utf-8")
    for not_held in ("views", "frame_stride"):
        assert not_held in card

    clip = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)  # no scaling, only the crop
    ours = tubelet.load(tmp_path / "ours", "cpu").predict(clip, views="1x1")
    classify = pipeline("video-classification", model=str(tmp_path / "theirs"), device="cpu")
    theirs = classify(torch.from_numpy(clip).permute(0, 3, 1, 2), top_k=3)
    assert [row["label"] for row in theirs] == list(ours.labels)
    assert [row["score"] for row in theirs] == pytest.approx(list(ours.probs), abs=1e-5)
