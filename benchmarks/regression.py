"""Numbers per video on a generated set where they are known: the size of a shape and its speed.

    python benchmarks/regression.py OUT [--clips 1600,200,400] [--epochs 12] [--seeds 3] [--write]

Arrows of any direction cross a still texture; their radius (in pixels) and speed (in pixels per second) are drawn
independently of each other, of place, direction and color. A ViViT learns both at once. Beside its errors stand those
of the mean over the training clips, and those of the same model whose clips are single frames repeated, which cannot
know a speed.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import write_result

from tubelet.data.synthetic import shape_coverage, still_texture
from tubelet.data.synthetic_films import encode_at_times
from tubelet.files import write_atomically
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

PIXELS, FRAMES, FPS = 64, 24, 25
RADIUS, SPEED = (6.0, 14.0), (0.0, 40.0)  # pixels, pixels per second
FIELDS: dict[str, Any] = {
    "data.manifest.layout": "csv",
    "data.manifest.numbers": True,
    "data.manifest.label_columns": ["radius", "speed"],
    "data.num_workers": 1,
    "model.tubelet_size": [2, 16, 16],
    "augment": {"flip_probability": 0.5},
    "optim.lr": 0.001,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", default="1600,200,400")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts = dict(zip(("train", "val", "test"), map(int, options.clips.split(",")), strict=True))
    labels = write_clips(options.out / "clips", counts)
    began, runs = time.monotonic(), []
    arms: dict[str, dict[str, Any]] = {
        "clips": {},
        "still frames": {"protocol.target_fps": 1000.0, "protocol.frame_stride": None},
    }
    for arm, fields in arms.items():
        for seed in range(options.seeds if arm == "clips" else 1):
            chosen = {"data.source": str(labels.resolve()), "training.num_epochs": options.epochs, "seed": seed}
            with ConsoleProgress(f"{arm} {seed}") as progress:
                recipe = load_recipe(
                    "motion/vivit_fe", [(k, json.dumps(v)) for k, v in {**chosen, **FIELDS, **fields}.items()]
                )
                folder = options.out / f"{arm.replace(' ', '_')}_{seed}"
                done = run_recipe(recipe, folder, Session(progress=progress))
                progress.note(done.evaluation.summary)
            runs.append(
                {
                    "model": arm,
                    "seed": seed,
                    "relative_error": done.evaluation.metrics["relative_error"],
                    **numbers(done.evaluation.metrics),
                }
            )
    print(json.dumps(runs, indent=2))
    content = {"clips": counts, "epochs": options.epochs, "seconds": round(time.monotonic() - began), "runs": runs}
    write_result("regression", content, write=options.write)


def numbers(metrics: Any) -> dict[str, Any]:
    """The figures of each number."""
    kept = ("mae", "mean_predictor_mae", "r2")
    return {name: {key: values[key] for key in kept} for name, values in metrics["numbers"].items()}


def write_clips(root: Path, counts: dict[str, int]) -> Path:
    """Write ``root/<split>/N.mp4`` and ``root/labels.csv``."""
    rows = []
    for split, count in counts.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([sum(split.encode()), number])
            path, radius, speed = root / split / f"{number:04d}.mp4", rng.uniform(*RADIUS), rng.uniform(*SPEED)
            frames = clip(rng, radius, speed)
            if not path.exists():
                times = tuple(round(1000 * t / FPS) for t in range(FRAMES))
                write_atomically(path, encode_at_times(frames, times))
            rows.append([path.relative_to(root).as_posix(), f"{radius:.3f}", f"{speed:.3f}", split])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "radius", "speed", "split"])
        writer.writerows(rows)
    return root / "labels.csv"


def clip(rng: np.random.Generator, radius: float, speed: float) -> np.ndarray[Any, Any]:
    """[T, H, W, 3] an arrow that crosses the middle of the clip near the middle of the frame."""
    heading, angle, times = rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi), np.arange(FRAMES) / FPS
    middle = rng.uniform(0.4, 0.6, size=2)
    along = (times - times.mean()) * speed / PIXELS
    poses = np.empty((FRAMES, 5), dtype=np.float32)
    poses[:, 0], poses[:, 1] = middle[0] + along * math.cos(heading), middle[1] + along * math.sin(heading)
    poses[:, 2], poses[:, 3], poses[:, 4] = math.cos(angle), math.sin(angle), radius / PIXELS
    covered = shape_coverage("arrow", poses, PIXELS)[..., None]
    behind, color = still_texture(rng, PIXELS), rng.uniform(120, 255, size=3).astype(np.float32)
    return (behind + covered * (color - behind) + 0.5).astype(np.uint8)


if __name__ == "__main__":
    main()
