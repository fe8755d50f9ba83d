"""Training a VTN with a frozen backbone from stored features against training it on the videos.

    python benchmarks/feature_store.py        --write puts the result into docs/results

DeiT-Ti/16 on 224 x 224 pixels in front of three Longformer layers, clips of 16 frames, made-up videos of moving shapes,
augmentation of pixels off, no worker processes, one thread. Both recipes are run twice, in turn. What is compared is
the CPU time of an epoch, training and validation, reading included, and everything the two runs log: step by step loss,
gradient norm and accuracy, the validation after every epoch, and the weights in the end.
"""

from __future__ import annotations

import csv
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from results import write_result
from safetensors.torch import load_file

from tubelet import cli
from tubelet.config import dump_yaml
from tubelet.data.synthetic import write_motion_set
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session

COUNTS = {"train": 16, "val": 8, "test": 8}
EPOCHS, ROUNDS = 2, 2
RECIPE: dict[str, Any] = {
    "model": {"name": "vtn_deit_ti16", "freeze_backbone": True},
    "data": {"source": "videos", "num_workers": 0},
    "protocol": {
        "num_frames": 16,
        "frame_stride": 2,
        "target_fps": None,
        "resize_short_side": 256,
        "crop_size": [224, 224],
        "num_temporal_views": 1,
        "num_spatial_crops": 1,
    },
    "augment": {"crop": "center"},
    "optim": {"warmup_epochs": 0},
    "training": {"num_epochs": EPOCHS, "batch_size": 8},
}


class Clock(NoProgress):
    """CPU seconds of every epoch, from one validation to the next; the first begins with the first batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = time.process_time()

    def note(self, text: str) -> None:
        """What is said before the first epoch: the time starts anew."""
        if not self.seconds:
            self._since = time.process_time()

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        now = time.process_time()
        self.seconds.append(now - self._since)
        self._since = now


def train(recipe: Recipe, folder: Path) -> list[float]:
    """CPU seconds of each epoch of one run."""
    clock = Clock()
    run_recipe(recipe, folder, Session(progress=clock))
    return clock.seconds


def logged(run: Path) -> dict[str, list[list[str]]]:
    """What a run measured, without times."""
    tables = {}
    for name in ("log.csv", "validation.csv"):
        with (run / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        tables[name] = [[v for k, v in row.items() if k not in ("seconds", "wait_share")] for row in rows]
    return tables


def main(write: bool = False) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        result = compare(Path(scratch))
    write_result("feature_store", result, write=write)
    print(json.dumps(result, indent=2))


def compare(root: Path) -> dict[str, Any]:
    write_motion_set(root / "videos", COUNTS, size_pixels=256, num_frames=34, fps=20)
    file = root / "vtn.yaml"
    file.write_text(dump_yaml(RECIPE), encoding="utf-8")
    began = time.process_time()
    options = ["--num-workers", "0", "--device", "cpu", "--allow-random"]
    if cli.main(["features", str(file), str(root / "videos"), str(root / "store"), *options]) != 0:
        raise SystemExit(1)
    writing = time.process_time() - began
    seconds: dict[str, list[float]] = {"videos": [], "store": []}
    for number in range(ROUNDS):
        for name, found in seconds.items():
            recipe = load_recipe(str(file), [("data.source", json.dumps(str(root / name)))])
            found += train(recipe, root / f"{name}{number}")[1:]  # the first epoch also reads what is imported late
    runs = {name: root / f"{name}0" for name in seconds}
    weights = [load_file(run / "last" / "model.safetensors") for run in runs.values()]
    stored = sum(f.stat().st_size for f in (root / "store").rglob("*.safetensors"))
    per_epoch = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "command": "python benchmarks/feature_store.py",
        "videos": COUNTS,
        "epochs_measured_of_each": len(seconds["store"]),
        "cpu_seconds_per_epoch": {name: round(value, 3) for name, value in per_epoch.items()},
        "all_epochs": {name: [round(value, 3) for value in found] for name, found in seconds.items()},
        "speedup_of_training": round(per_epoch["videos"] / per_epoch["store"], 1),
        "cpu_seconds_to_write_the_store": round(writing, 2),
        "store_kib_per_video": round(stored / sum(COUNTS.values()) / 1024, 1),
        "steps_and_validations_are_equal": logged(runs["videos"]) == logged(runs["store"]),
        "weights_are_bit_equal": all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]),
        "steps": len(logged(runs["store"])["log.csv"]),
        "cpu": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "timm")},
    }


if __name__ == "__main__":
    main(write=sys.argv[1:] == ["--write"])
