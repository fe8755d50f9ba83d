"""Does an image model help a video model whose single frames carry the class? Ten scenes, equal cost, three seeds.

    python examples/scene_segments.py FOLDER scenes.csv
    python benchmarks/image_init_scenes.py scenes.csv      --write puts the result into docs/results

An average-pool ViViT of one frame is trained on single frames; its kernel is then inflated to tubelets of two frames
and the video model trained on. The other arm is the same video model from random weights for as many multiply-adds as
both stages took: an image epoch costs a quarter of a video epoch (one time index of four). Runs go on where they
stopped.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from results import write_result

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "image_init_scenes"
SEEDS = (0, 1, 2)
IMAGE_EPOCHS, VIDEO_EPOCHS = 100, 25
SCRATCH_EPOCHS = VIDEO_EPOCHS + IMAGE_EPOCHS // 4
MODEL = (
    *("--model", "vivit_ti16x2_avgpool", "--model.embed_dim", "128", "--model.depth", "4", "--model.num_heads", "4"),
    *("--model.global_pool", "avg", "--optim.warmup_epochs", "5", "--device", "cpu"),
)
IMAGE = ("--model.tubelet_size", "1,16,16", "--protocol.num_frames", "1")


def train(data: str, name: str, epochs: int, seed: int, *options: str) -> dict[str, Any]:
    """The metrics of one run on the test rows."""
    run, result = RUNS / f"{name}-{seed}", RUNS / f"{name}-{seed}.json"
    if not result.exists():
        command = [sys.executable, "-m", "tubelet", "train", "scenes/vivit_fe", "--data", data, "--out", str(run)]
        command += [*MODEL, *options, "--training.num_epochs", str(epochs), "--seed", str(seed), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        result.write_bytes(done.stdout)
    (metrics,) = json.loads(result.read_bytes())
    return metrics


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--write"]
    if len(words) != 1:
        sys.exit(__doc__)
    (data,) = words
    RUNS.mkdir(parents=True, exist_ok=True)
    arms: dict[str, list[float]] = {"image model on single frames": [], "inflated from it": [], "random": []}
    for seed in SEEDS:
        image = train(data, "image", IMAGE_EPOCHS, seed, *IMAGE)
        start = str(RUNS / f"image-{seed}" / "best")
        arms["image model on single frames"].append(image["top1"])
        arms["inflated from it"].append(train(data, "inflated", VIDEO_EPOCHS, seed, "--init", start)["top1"])
        arms["random"].append(train(data, "random", SCRATCH_EPOCHS, seed)["top1"])
    content = {
        "command": "python benchmarks/image_init_scenes.py scenes.csv",
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "timm")},
        "epochs": {"image": IMAGE_EPOCHS, "inflated": VIDEO_EPOCHS, "random": SCRATCH_EPOCHS},
        "test_rows": 30,
        "top1": {name: {"mean": mean(tops), "sd": stdev(tops), "seeds": tops} for name, tops in arms.items()},
    }
    write_result("image_init_scenes", content, write="--write" in sys.argv)
    print(json.dumps(content["top1"], indent=2))


if __name__ == "__main__":
    main()
