"""A comparison whose runs take a second, on generated volumes that are easy to tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tubelet import config
from tubelet.comparison.arms import Comparison, load_comparison
from tubelet.comparison.timing import Cost

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
