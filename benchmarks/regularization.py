"""What each regularization of ViViT's Table 4 adds where training data are few: every row has one method more.

python benchmarks/regularization.py                   all: 42 runs of one to three minutes each and 3 to start from
python benchmarks/regularization.py --data motion     one data set; the other keeps its place in the file
python benchmarks/regularization.py --quick           every row, one epoch on a few clips, writes nothing

motion: 240 clips of the demo's eight classes (30 each), ViViT Model 2 as in the recipe motion/vivit_fe, in the order of
the paper (arXiv 2103.15691, Table 4, whose first row holds crop, flip and color together). A flip maps labels: left is
then right, and turning one way the other. Initialization is by a model of the same kind, trained on other clips that
show the four translations alone, as the paper's comes from Kinetics with other classes.

adrenalmnist3d: the shipped recipe on 28 x 28 x 28 silhouettes, whose methods are those that can matter there.

Every run is tubelet's own training by a recipe, one thread and one reading process, three seeds. What a row adds over
the one before is the mean over seeds, of the same seed. A run that is there is not repeated, one that was stopped goes
on: remove the folder (--out) to measure anew.
"""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch
import tyro
from results import read_result, write_result
from rich.console import Console
from rich.table import Table

from tubelet.data.synthetic import write_motion_set
from tubelet.files import write_atomically
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

ROOT = Path(__file__).parents[1]
DataSet = Literal["motion", "adrenalmnist3d"]
Fields = dict[str, Any]

COUNTS = {"train": 240, "val": 160, "test": 320}
QUICK_COUNTS = {"train": 16, "val": 8, "test": 8}
TRANSLATIONS = ("left", "right", "up", "down")
START_COUNTS = {"train": 1200, "val": 80}  # of which the translations are half
MIRRORED = {"left": "right", "clockwise": "counter_clockwise"}

RECIPES: dict[DataSet, str] = {"motion": "motion/vivit_fe", "adrenalmnist3d": "adrenalmnist3d/vivit_ti_joint"}
SHOWN: dict[DataSet, str] = {"motion": "top1", "adrenalmnist3d": "auroc"}
# Of every row: nothing random but the place in time, and a length that fits two minutes.
COMMON: dict[DataSet, Fields] = {
    "motion": {"training.num_epochs": 50, "training.validate_every_epochs": 5},
    "adrenalmnist3d": {
        "training.num_epochs": 12,
        "augment.volume_flips": False,
        "augment.volume_shift_pixels": 0,
    },
}
# What each row adds to the fields of the row before.
ROWS: dict[DataSet, dict[str, Fields]] = {
    "motion": {
        "none": {},
        "random crop": {"augment.random_resized_crop": [0.6, 1.0]},
        "flip": {
            "augment.flip_probability": 0.5,
            "augment.flip_label_map": {**MIRRORED, **{other: name for name, other in MIRRORED.items()}},
        },
        "color jitter": {
            "augment.color_probability": 0.8,
            "augment.brightness_shift": 0.125,
            "augment.contrast": 0.4,
            "augment.saturation": 0.4,
            "augment.hue": 0.2,
        },
        "initialization": {"init.source": "START"},  # the checkpoint of this seed stands in for it
        "stochastic depth": {"model.drop_path_rate": 0.2},
        "RandAugment": {"augment.rand_augment": {"ops": "vivit", "num_ops": 2, "magnitude": 15}},
        "label smoothing": {"training.label_smoothing": 0.2},
        "mixup": {"augment.mix": {"mixup": 0.1, "partner": "reversed"}},
    },
    "adrenalmnist3d": {
        "none": {},
        "flips and shifts": {"augment.volume_flips": True, "augment.volume_shift_pixels": 2},
        "stochastic depth": {"model.drop_path_rate": 0.2},
        "label smoothing": {"training.label_smoothing": 0.2},
        "mixup": {"augment.mix": {"mixup": 0.1, "partner": "reversed"}},
    },
}


@dataclass(frozen=True, kw_only=True)
class Options:
    data: tuple[DataSet, ...] = ("motion", "adrenalmnist3d")  # which tables
    seeds: int = 3  # runs of every row
    out: Path = ROOT / "runs" / "regularization"  # folder for videos and runs, kept
    quick: bool = False  # one epoch and one seed on a few clips, in a folder that goes away; writes nothing
    write: bool = False  # into docs/results; else into runs/results


def fields_of(data: DataSet, row: str, start: Path | None) -> Fields:
    """The fields of a row: those that it adds, and all that the rows above it added."""
    fields = dict(COMMON[data])
    for name, added in ROWS[data].items():
        fields |= added
        if name == row:
            break
    if fields.get("init.source") == "START":
        fields["init.source"] = str(start)
    return fields


def train(options: Options, data: DataSet, name: str, seed: int, fields: Fields) -> dict[str, Any]:
    """The metrics of one run, from its file where it has finished before."""
    folder = options.out / data / f"{name.replace(' ', '_')}-{seed}"
    result = folder.with_suffix(".json")
    if result.exists():
        content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return content
    fields = {**fields, "data.num_workers": 1, "seed": seed}
    if options.quick:
        fields |= {"training.num_epochs": 1, "optim.warmup_epochs": 0}
    recipe = load_recipe(RECIPES[data], [(key, json.dumps(value)) for key, value in fields.items()])
    with ConsoleProgress(f"{data}: {name}, seed {seed}") as progress:
        content = run_recipe(recipe, folder, Session(progress=progress)).to_dict()
    write_atomically(result, json.dumps(content))
    return content


def start_of(options: Options, seed: int) -> Path:
    """The checkpoint that the motion model starts from: trained on the translations of another set."""
    root = options.out / "start_videos"
    counts = QUICK_COUNTS if options.quick else START_COUNTS
    write_motion_set(root, counts, seed=1)
    manifest = options.out / "start.csv"
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "split"])
        for split in counts:
            for label in TRANSLATIONS:
                files = sorted((root / split / label).glob("*.mp4"))
                rows.writerows([file.relative_to(options.out), label, split] for file in files)
    fields = {"data.source": str(manifest), "training.num_epochs": 12}
    train(options, "motion", "start", seed, fields)
    return options.out / "motion" / f"start-{seed}" / "best"


def measure(options: Options, data: DataSet) -> dict[str, Any]:
    """Every row of a table over all seeds."""
    values: dict[str, list[float]] = {row: [] for row in ROWS[data]}
    seconds: dict[str, list[float]] = {row: [] for row in ROWS[data]}
    for seed in range(options.seeds):
        start = start_of(options, seed) if data == "motion" else None
        for row in ROWS[data]:
            fields = fields_of(data, row, start)
            if data == "motion":
                fields["data.source"] = str(options.out / "videos")
            content = train(options, data, row, seed, fields)
            values[row].append(content[SHOWN[data]])
            seconds[row].append(content["train_seconds"])
    facts = {key: content[key] for key in ("split", "num_videos", "num_failed", "views", "majority_baseline")}
    return {
        "command": "python benchmarks/regularization.py",
        "date": date.today().isoformat(),
        "num_threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "timm")},
        "metric": SHOWN[data],
        **facts,
        "rows": summed_up(values, seconds),
    }


def summed_up(values: dict[str, list[float]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Mean and standard deviation of each row, and what it adds to the one before, seed by seed."""
    rows: dict[str, Any] = {}
    before: list[float] | None = None
    for row, own in values.items():
        gains = [] if before is None else [a - b for a, b in zip(own, before, strict=True)]
        rows[row] = {
            "mean": round(mean(own), 4),
            "sd": round(stdev(own), 4) if len(own) > 1 else None,
            "gain": round(mean(gains), 4) if gains else None,
            "gains_by_seed": [round(gain, 4) for gain in gains],
            "train_seconds": round(mean(seconds[row]), 1),
        }
        before = own
    return rows


def print_table(data: DataSet, result: dict[str, Any]) -> None:
    title = f"{data}: {SHOWN[data]} on {result['num_videos']} videos of {result['split']}, {result['views']} views"
    table = Table(title=title)
    for heading in ("", "mean", "sd", "gain", "by seed", "seconds"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in result["rows"].items():
        label = name if name == "none" else f"+ {name}"
        gain = "" if row["gain"] is None else f"{row['gain']:+.3f}"
        sd = "" if row["sd"] is None else f"{row['sd']:.3f}"
        by_seed = " ".join(f"{value:+.3f}" for value in row["gains_by_seed"])
        table.add_row(label, f"{row['mean']:.3f}", sd, gain, by_seed, f"{row['train_seconds']:.0f}")
    Console().print(table)


def run(options: Options) -> None:
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if "motion" in options.data:
        write_motion_set(options.out / "videos", QUICK_COUNTS if options.quick else COUNTS)
    for data in options.data:
        result = measure(options, data)
        print_table(data, result)
        if not options.quick:
            kept = read_result("regularization", write=options.write)
            write_result("regularization", {**kept, data: result}, write=options.write)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if not options.quick:
        run(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Options(data=options.data, seeds=1, out=Path(folder), quick=True))


if __name__ == "__main__":
    main()
