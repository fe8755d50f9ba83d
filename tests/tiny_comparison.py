"""A comparison whose runs take a second, on generated volumes that are easy to tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tubelet import config
from tubelet.studies.arms import Comparison, load_comparison
from tubelet.studies.timing import Cost

CONTENT: dict[str, Any] = {
    "question": "Do means of slices suffice?",
    "base": "adrenalmnist3d/vivit_ti_joint",
    "metric": "auroc",
    "fields": {
        "data.num_workers": 0,
        "training.num_epochs": 2,
        "training.batch_size": 16,
        "optim.warmup_epochs": 0,
        "model.tubelet_size": [14, 14, 14],
        "model.embed_dim": 12,
        "model.depth": 1,
        "model.num_heads": 1,
    },
    "arms": {
        "tubelets": {"about": "every slice has weights", "fields": {}},
        "averaging": {"about": "slices are averaged", "fields": {"model.tubelet_frames": "averaged"}},
    },
    "contrasts": [["tubelets", "averaging"]],
    # The last rate is beyond anything: its runs diverge.
    "tuning": {"grid": {"optim.lr": [0.0003, 0.001, 0.003, 1e30]}, "max_extensions": 0},
    "num_seeds": 2,
    "one_setting": {"optim.lr": 0.001},
    "levels": [0.5],
    "quick": {"num_seeds": 1, "tuning.grid": {"optim.lr": [0.001, 0.002, 0.003, 0.004]}},
}

# The same on clips that it generates, with an image model that one arm starts from, and a sweep of views.
WITH_ASSETS: dict[str, Any] = {
    "base": "motion/tubelets_avgpool",
    "metric": "top1",
    "datasets": {"motion": {"fields": {"data.source": "generated:motion"}}},
    "generated": {
        "motion": {"counts": {"train": 16, "val": 8, "test": 8}, "size_pixels": 32, "num_frames": 8},
        "shapes": {"counts": {"train": 10, "val": 5}, "size_pixels": 32, "num_frames": 8, "classes": "shapes"},
    },
    "fields": {
        "data.num_workers": 0,
        "training.num_epochs": 1,
        "training.batch_size": 8,
        "optim.warmup_epochs": 0,
        "model.name": "vivit_ti16x2_joint",
        "model.tubelet_size": [2, 16, 16],
        "model.embed_dim": 12,
        "model.depth": 1,
        "model.num_heads": 1,
        "protocol.num_frames": 4,
        "protocol.resize_short_side": 32,
        "protocol.crop_size": [32, 32],
        "protocol.num_temporal_views": 1,
    },
    "starts": {
        "image": {
            "about": "an image ViT",
            "fields": {
                "data.source": "generated:shapes",
                "model.tubelet_size": [1, 16, 16],
                "protocol.num_frames": 1,
            },
        }
    },
    "arms": {
        "random": {"about": "random", "fields": {}},
        "central": {
            "about": "from the image model",
            "fields": {"init.source": "start:image"},
            "datasets": {"motion": {"init.tokenizer": "central_frame"}},
        },
    },
    "contrasts": [["central", "random"]],
    "tuning": {"grid": {"optim.lr": [0.0003, 0.001, 0.002, 0.003]}, "max_extensions": 0},
    "num_seeds": 2,
    "one_setting": None,
    "levels": [],
    "test_views": [1, 2],
    "published": ["arXiv 2103.15691v1 Table 1"],
}


def write_volumes(path: Path) -> Path:
    """Noise, and in every second volume a brighter cube."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, number in (("train", 32), ("val", 16), ("test", 24)):
        labels = np.arange(number) % 2
        volumes = rng.integers(0, 90, (number, 28, 28, 28)).astype(np.uint8)
        volumes[labels == 1, 7:21, 7:21, 7:21] += 30
        arrays |= {f"{split}_images": volumes, f"{split}_labels": labels[:, None].astype(np.uint8)}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def write_comparison(folder: Path, **changes: Any) -> Path:
    """``tiny.yaml`` with its volumes beside it."""
    volumes = write_volumes(folder / "volumes.npz")
    content = {**CONTENT, "datasets": {"volumes": {"fields": {"data.source": str(volumes)}}}, **changes}
    (folder / "tiny.yaml").write_text(config.dump_yaml(content))
    return folder / "tiny.yaml"


def load(folder: Path, **changes: Any) -> Comparison:
    return load_comparison(str(write_comparison(folder, **changes)))


def made_up_costs(comparison: Comparison) -> dict[str, dict[str, Cost]]:
    """For reports of runs whose times nobody asks for."""
    costs = {
        arm: Cost(
            num_parameters=1000 * (i + 1),
            gmacs=0.1 * (i + 1),
            step_seconds=0.02 * (i + 1),
            step_spread=(0.01, 0.05),
            clip_seconds=0.001,
            batch_size=16,
            peak_bytes=10**9,
        )
        for i, arm in enumerate(comparison.running)
    }
    return dict.fromkeys(comparison.datasets, costs)
