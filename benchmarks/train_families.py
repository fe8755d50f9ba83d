"""Every family trains: one small model of each on the demo's motion set and on AdrenalMNIST3D, in one table.

python benchmarks/train_families.py                              all, about an hour on two cores; writes the results
python benchmarks/train_families.py --models vivit_fe r3d_18     some; the others keep their place in the file
python benchmarks/train_families.py --quick                      a few clips and one epoch each, writes nothing

Training is tubelet's own, by the shipped recipes of the two data sets with another model in place of theirs. A run
that is there is only tested again, one that was stopped goes on. This shows that each family learns; one seed and no
tuning per model do not show which is better, and the networks of torchvision have fewer epochs, since they are 30 times
as much work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from results import read_result, write_result
from rich.console import Console
from rich.table import Table

from tubelet.data.synthetic import write_motion_set
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

DataSet = Literal["motion", "adrenalmnist3d"]
RECIPES: dict[DataSet, str] = {"motion": "motion/vivit_fe", "adrenalmnist3d": "adrenalmnist3d/vivit_ti_joint"}
SHOWN: dict[DataSet, str] = {"motion": "top1", "adrenalmnist3d": "auroc"}
COUNTS = {"train": 2400, "val": 160, "test": 320}
QUICK_COUNTS = {"train": 32, "val": 8, "test": 16}

# The width of the shipped recipes, and the depth of the motion set's.
SMALL: dict[str, Any] = {"embed_dim": 96, "depth": 2, "num_heads": 3}
EVEN: dict[str, Any] = {**SMALL, "num_heads": 4}  # Model 4 halves its heads
NO_DROPOUT = {"drop_rate": 0.0, "global_drop_rate": 0.0}
UNIFORMERV2: dict[str, Any] = {**SMALL, **NO_DROPOUT, "global_layers": 2}
LITTLE_DROPOUT = {"drop_rate": 0.0, "attn_drop_rate": 0.0, "head_drop_rate": 0.1}
VTN: dict[str, Any] = {
    **{"name": "vtn_deit_ti16", "num_heads": 3, "hidden_dim": 384, "depth": 2, "head_dim": 96},
    **LITTLE_DROPOUT,
}
# Every second frame of the motion set's clip, and of a volume's slices, for models that cut single frames.
FRAMES: dict[DataSet, dict[str, Any]] = {
    "motion": {"num_frames": 8, "frame_stride": 2},
    "adrenalmnist3d": {"num_frames": 14, "frame_stride": 2},
}
# Half the side: a network that halves its grid four times has little use for more, and is a quarter of the work.
R3D: dict[DataSet, dict[str, Any]] = {
    "motion": {**FRAMES["motion"], "resize_short_side": 32, "crop_size": [32, 32]},
    "adrenalmnist3d": FRAMES["adrenalmnist3d"],
}
TUBELET: dict[DataSet, dict[str, Any]] = {
    "motion": {"tubelet_size": [4, 16, 16]},
    "adrenalmnist3d": {"tubelet_size": [7, 7, 7]},
}
PATCH: dict[DataSet, dict[str, Any]] = {"motion": {"patch_size": 16}, "adrenalmnist3d": {"patch_size": 7}}
BACKBONE: dict[DataSet, dict[str, Any]] = {
    "motion": {"backbone_fields": {**SMALL, "img_size": 64, "patch_size": 16}},
    "adrenalmnist3d": {"backbone_fields": {**SMALL, "img_size": 28, "patch_size": 7}},
}
NOTHING: dict[DataSet, dict[str, Any]] = {"motion": {}, "adrenalmnist3d": {}}
EPOCHS: dict[DataSet, int] = {"motion": 7, "adrenalmnist3d": 15}
# Models whose first stage sees single frames begin to tell motions apart late: VTN stays at chance for 15 epochs.
MANY_EPOCHS: dict[DataSet, int] = {"motion": 30, "adrenalmnist3d": 15}
FEW_EPOCHS: dict[DataSet, int] = {"motion": 2, "adrenalmnist3d": 3}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table."""

    model: dict[str, Any]  # name, and fields for both data sets
    of_data: dict[DataSet, dict[str, Any]]  # fields that follow the size of the clips
    protocol: dict[DataSet, dict[str, Any]]  # in place of the recipe's
    epochs: dict[DataSet, int]


def vivit(kind: str, fields: dict[str, Any]) -> Entry:
    model = {"name": f"vivit_ti16x2_{kind}", **fields}
    return Entry(model=model, of_data=TUBELET, protocol=NOTHING, epochs=EPOCHS)


def of_frames(name: str, fields: dict[str, Any], epochs: dict[DataSet, int] = EPOCHS) -> Entry:
    return Entry(model={"name": name, **fields}, of_data=PATCH, protocol=FRAMES, epochs=epochs)


ENTRIES: dict[str, Entry] = {
    "vivit_joint": vivit("joint", SMALL),
    "vivit_fe": vivit("fe", {**SMALL, "temporal_depth": 2}),
    "vivit_fsa": vivit("fsa", SMALL),
    "vivit_fdp": vivit("fdp", EVEN),
    "vivit_avgpool": vivit("avgpool", SMALL),
    "timesformer_divided": of_frames("timesformer_ti16_divided", SMALL, MANY_EPOCHS),
    "timesformer_joint": of_frames("timesformer_ti16_joint", SMALL, MANY_EPOCHS),
    "timesformer_space": of_frames("timesformer_ti16_space", SMALL, MANY_EPOCHS),
    "uniformerv2": of_frames("uniformerv2_ti16", UNIFORMERV2),
    "uniformerv2_ssv2": of_frames("uniformerv2_ti16_ssv2", UNIFORMERV2),
    "vtn": Entry(model=VTN, of_data=BACKBONE, protocol=FRAMES, epochs=MANY_EPOCHS),
    "r3d_18": Entry(model={"name": "torchvision/r3d_18"}, of_data=NOTHING, protocol=R3D, epochs=FEW_EPOCHS),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small model of every family on two data sets."""

    models: tuple[str, ...] = tuple(ENTRIES)  # which rows
    data: tuple[DataSet, ...] = ("motion", "adrenalmnist3d")  # which columns
    out: Path = Path("families")  # folder for the videos and the runs, kept
    quick: bool = False  # 32 clips and one epoch, into a folder of their own; writes nothing to docs
    write: bool = False  # into docs/results; else into runs/results


def recipe_of(name: str, data: DataSet, options: Options) -> Recipe:
    """The shipped recipe of the data with this model; the embedded volumes are all used even in a quick run."""
    entry = ENTRIES[name]
    overrides = [("model", json.dumps({**entry.model, **entry.of_data[data]}))]
    overrides += [(f"protocol.{field}", json.dumps(value)) for field, value in entry.protocol[data].items()]
    overrides.append(("training.num_epochs", "1" if options.quick else str(entry.epochs[data])))
    if data == "motion":
        overrides.append(("data.source", json.dumps(str(options.out / "videos"))))
    return load_recipe(RECIPES[data], overrides)


def train(name: str, data: DataSet, options: Options) -> CompletedRun:
    with ConsoleProgress(f"{name} on {data}") as progress:
        result = run_recipe(
            recipe_of(name, data, options),
            options.out / data / name,
            Session(progress=progress),
        )
        progress.note(result.evaluation.summary)
    return result


def row(name: str, data: DataSet, options: Options, result: CompletedRun) -> dict[str, Any]:
    recipe = recipe_of(name, data, options)
    protocol = recipe.protocol
    with torch.device("meta"):
        model = create_model(recipe.model["name"], **recipe.model_options(num_classes=8 if data == "motion" else 2))
    macs = count_macs(model, (protocol.num_channels, protocol.num_frames, *protocol.crop_size))
    content = result.to_dict()
    kept = ("split", "top1", "mean_class", "auroc", "num_videos", "num_failed", "views", "majority_baseline")
    return {
        "model": recipe.model["name"],
        "parameters": count_parameters(model),
        "gmacs_per_view": round(macs / 1e9, 4),
        "epochs": recipe.training.num_epochs,
        **{key: content[key] for key in (*kept, "train_seconds")},
    }


def print_table(rows: dict[str, dict[str, Any]], data: tuple[DataSet, ...]) -> None:
    table = Table(title="small models of every family; motion: top-1 (chance 12.5 %), AdrenalMNIST3D: AUROC")
    table.add_column("model")
    for name in data:
        for heading in ("parameters", "GMACs", "epochs", f"{name} {SHOWN[name]}", "minutes"):
            table.add_column(heading, justify="right")
    for name, columns in rows.items():
        cells = []
        for column in data:
            r = columns[column]
            value = r[SHOWN[column]]
            score = "" if value is None else f"{value:.1%}" if column == "motion" else f"{value:.3f}"
            counts = [f"{r['parameters'] / 1e6:.2f} M", f"{r['gmacs_per_view']:.3f}", str(r["epochs"])]
            cells += [*counts, score, f"{r['train_seconds'] / 60:.1f}"]
        table.add_row(name, *cells)
    Console().print(table)


def write_results(rows: dict[str, dict[str, Any]], write: bool) -> None:
    """Replace the rows that were run and keep the others, in the order of ``ENTRIES``."""
    content = {"rows": {}} | read_result("train_families", write=write)
    merged = {name: {**content["rows"].get(name, {}), **columns} for name, columns in rows.items()}
    kept = {**content["rows"], **merged}
    content = {
        "command": "python benchmarks/train_families.py",  # however many runs of it filled the rows
        "date": date.today().isoformat(),
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rows": {name: kept[name] for name in ENTRIES if name in kept},
    }
    write_result("train_families", content, write=write)


def main(options: Options) -> None:
    unknown = [name for name in options.models if name not in ENTRIES]
    if unknown:
        raise SystemExit(f"unknown model {unknown[0]}; expected of {', '.join(ENTRIES)}")
    if "motion" in options.data:
        write_motion_set(options.out / "videos", QUICK_COUNTS if options.quick else COUNTS)
    rows: dict[str, dict[str, Any]] = {}
    for name in options.models:
        rows[name] = {data: row(name, data, options, train(name, data, options)) for data in options.data}
        if not options.quick:
            write_results({name: rows[name]}, options.write)
    print_table(rows, options.data)


if __name__ == "__main__":
    main(tyro.cli(Options))
