"""A tiny VTN with a frozen backbone as a recipe, and a feature store made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet import cli
from tubelet.config import dump_yaml

RECIPE: dict[str, Any] = {
    "model": {
        "name": "vtn_vit_b16",
        "backbone": "vit_tiny_patch16_224",
        "backbone_fields": {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
        "freeze_backbone": True,
        "depth": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "attention_window": [4],
        "head_dim": None,
    },
    "data": {"source": "videos", "num_workers": 0},
    "protocol": {
        "num_frames": 4,
        "frame_stride": 2,
        "target_fps": None,
        "resize_short_side": 20,
        "crop_size": [16, 16],
        "num_temporal_views": 2,
        "num_spatial_crops": 1,
    },
    "augment": {"crop": "center", "stride_jitter": [0.6, 1.6]},
    "training": {"num_epochs": 2, "batch_size": 8},
    "optim": {"warmup_epochs": 0},
}


def write_recipe(file: Path) -> Path:
    """The recipe as a file."""
    file.write_text(dump_yaml(RECIPE), encoding="utf-8")
    return file


def write_store(recipe: Path, videos: Path, out: Path) -> Path:
    """The feature store of the recipe's first weights, which are random, by the command."""
    argv = ["features", str(recipe), str(videos), str(out), "--num-workers", "0", "--device", "cpu", "--allow-random"]
    assert cli.main(argv) == 0
    return out
