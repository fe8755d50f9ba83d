"""Run folders as training and evaluation write them, with made-up numbers, for the tests of the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tubelet import config
from tubelet.protocol import Protocol
from tubelet.tasks.single_label import compute_metrics
from tubelet.weights.checkpoint.checkpoint import RECORD, WEIGHTS, Record


def make_run(
    path: Path, labels: Sequence[str], *, skill: float = 3.0, num_steps: int = 200, videos: int = 256, seed: int = 0
) -> Path:
    """A finished run on ``videos`` test videos; a higher ``skill`` is a better model."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("model:\n  name: vivit_ti16x2_fe\noptim:\n  lr: 0.001\nseed: 3\n")
    write_curves(path, rng, num_steps)
    write_checkpoint(path / "best", labels)
    write_metrics(path, labels, rng, skill, videos)
    return path


def write_metrics(path: Path, labels: Sequence[str], rng: np.random.Generator, skill: float, videos: int) -> None:
    true = rng.integers(len(labels), size=videos)
    scores = rng.normal(size=(videos, len(labels)))
    scores[np.arange(videos), true] += skill
    probs = torch.softmax(torch.from_numpy(scores), dim=1)
    extra: dict[str, Any] = {"split": "test", "num_failed": 0, "failed": [], "views": "4x3", "averaging": "logits"}
    metrics = compute_metrics(probs, torch.from_numpy(true), labels) | extra
    folder = path / "evaluation" / "test"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))


def edit_metrics(path: Path, **changes: Any) -> None:
    file = path / "evaluation" / "test" / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def write_curves(path: Path, rng: np.random.Generator, num_steps: int) -> None:
    steps = np.arange(1, num_steps + 1)
    share = steps / num_steps
    loss = 2 * np.exp(-3 * share) + 0.2 + rng.normal(0, 0.08, num_steps)
    top1 = np.clip(0.9 - 0.75 * np.exp(-3 * share) + rng.normal(0, 0.06, num_steps), 0, 1)
    rate = 1e-3 * np.minimum(share * 10, (1 + np.cos(np.pi * share)) / 2)
    with (path / "log.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "epoch", "lr", "loss", "top1", "grad_norm", "wait_share", "seconds"])
        for i in range(num_steps):
            table.writerow([steps[i], i // 50, rate[i], loss[i], top1[i], 1.0, 0.125, 0.9 * steps[i]])
    with (path / "validation.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "epoch", "loss", "top1", "top5", "mean_class", "auroc", "calibration_error"])
        for step in range(num_steps // 8, num_steps + 1, num_steps // 8):
            table.writerow([step, step // 50, loss[step - 1] + 0.1, top1[step - 1] * 0.95, 0.9, 0.8, "", 0.05])


def write_checkpoint(path: Path, labels: Sequence[str]) -> None:
    path.mkdir()
    save_file({"head.weight": torch.zeros(1000, 1200), "head.bias": torch.zeros(34)}, path / WEIGHTS)
    record = Record(
        model_name="vivit_ti16x2_fe",
        model_config={"num_classes": len(labels)},
        protocol=Protocol(labels={"label": tuple(labels)}),
        provenance={"seed": 3, "versions": {"torch": "2.15.0"}, "data_fingerprint": "5e1f0c", "device": None},
    )
    (path / RECORD).write_text(json.dumps(config.to_dict(record)))
