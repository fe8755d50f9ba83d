"""Does a start from an image ViT help? AdrenalMNIST3D: a ViT trained on single slices, then ViViT on whole volumes.

python benchmarks/image_init.py            about ten minutes on one thread, --write puts the result into docs/results
python benchmarks/image_init.py --quick    one epoch and one seed each, in a minute, writes nothing

The image ViT (average pool made for one frame) learns the volumes' labels from one random slice per volume and epoch.
Its weights start ViViT Model 1 of the same width and depth by central frame and by filter inflation. Against these
stand the same model from random weights with as many epochs, and with so many more epochs that its training takes as
long as both stages together. Everything else (data, augmentation, schedule, batch) is that of the shipped recipe.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import tyro
from results import write_result

from tubelet.recipe import load_recipe
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

RECIPE = "adrenalmnist3d/vivit_ti_joint"
ARMS = ("scratch", "scratch, as long as both stages", "central frame", "inflation")


@dataclass(frozen=True, kw_only=True)
class Options:
    image_epochs: int = 15  # of the image ViT, over one slice of each volume
    video_epochs: int = 6  # of the video model
    seeds: int = 3  # runs of each arm; the image ViT is trained anew for each
    quick: bool = False  # one epoch, one seed, nothing written
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.quick:
        options = Options(image_epochs=1, video_epochs=1, seeds=1, quick=True)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.seeds):
            rows += measure(options, seed, Path(scratch))
    result = {
        "command": "python benchmarks/image_init.py",
        **circumstances(options),
        "arms": spread(rows),
        "rows": rows,
    }
    for name, arm in result["arms"].items():
        print(f"{name:<34} AUROC {arm['auroc']}  top-1 {arm['top1']}  epochs {arm['epochs']}  seconds {arm['seconds']}")
    if not options.quick:
        write_result("image_init", result, write=options.write)


def measure(options: Options, seed: int, folder: Path) -> list[dict[str, Any]]:
    """The image ViT and every arm with one seed."""
    image = {
        "model": json.dumps(
            {
                "name": "vivit_ti16x2_avgpool",
                "tubelet_size": [1, 7, 7],
                "embed_dim": 96,
                "depth": 4,
                "num_heads": 3,
                "global_pool": "avg",
            }
        ),
        "protocol.num_frames": "1",
    }
    first = train(folder / f"image{seed}", seed, options.image_epochs, image)
    rows = [row("image ViT on slices", seed, options.image_epochs, first)]
    plain = train(folder / f"scratch{seed}", seed, options.video_epochs, {})
    rows.append(row(ARMS[0], seed, options.video_epochs, plain))
    more = round(first.state.seconds / plain.state.seconds * options.video_epochs)
    longer = options.video_epochs + more
    rows.append(row(ARMS[1], seed, longer, train(folder / f"longer{seed}", seed, longer, {})))
    for arm, tokenizer in ((ARMS[2], "central_frame"), (ARMS[3], "inflation")):
        init = {"init.source": str(folder / f"image{seed}" / "best"), "init.tokenizer": tokenizer}
        result = train(folder / f"{tokenizer}{seed}", seed, options.video_epochs, init)
        rows.append(row(arm, seed, options.video_epochs, result))
    return rows


def train(folder: Path, seed: int, epochs: int, overrides: dict[str, str]) -> CompletedRun:
    fixed = {
        "training.num_epochs": epochs,
        "optim.warmup_epochs": min(1, epochs - 1),
        "data.num_workers": 0,
        "seed": seed,
    }
    recipe = load_recipe(RECIPE, [*overrides.items(), *((key, str(value)) for key, value in fixed.items())])
    with ConsoleProgress(folder.name) as progress:
        return run_recipe(recipe, folder, Session(progress=progress))


def row(arm: str, seed: int, epochs: int, result: CompletedRun) -> dict[str, Any]:
    metrics = result.to_dict()
    kept = ("split", "auroc", "top1", "mean_class", "num_videos", "num_failed", "views", "majority_baseline")
    return {
        "arm": arm,
        "seed": seed,
        "epochs": epochs,
        "train_seconds": round(result.state.seconds, 1),
        **{name: metrics[name] for name in kept},
    }


def spread(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Mean and standard deviation over seeds of each arm, on the test split."""
    arms = {}
    for arm in dict.fromkeys(r["arm"] for r in rows):
        own = [r for r in rows if r["arm"] == arm]
        arms[arm] = {name: plus_minus([r[name] for r in own], 3) for name in ("auroc", "top1")}
        arms[arm]["epochs"] = plus_minus([float(r["epochs"]) for r in own], 0)
        arms[arm]["seconds"] = plus_minus([r["train_seconds"] for r in own], 0)
    return arms


def plus_minus(values: list[float], digits: int) -> str:
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def circumstances(options: Options) -> dict[str, Any]:
    packages = ("torch", "timm", "numpy")
    return {
        "date": date.today().isoformat(),
        "device": "cpu",
        "num_threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in packages},
        "options": {"image_epochs": options.image_epochs, "video_epochs": options.video_epochs, "seeds": options.seeds},
    }


if __name__ == "__main__":
    main()
