"""Probes on two sets of real clips: a frozen EfficientNet-Lite0 against chance and against random weights.

python benchmarks/probe.py --fight FOLDER --pocus FOLDER    resumable; features and probes lie below runs/probe

Arms, each on five folds by group, with heads chosen on validation folds alone (`tubelet probe`):

    linear     the default of `tubelet probe`: mean and deviation over 8 frames; three seeds of folds and random weights
    temporal   VTN's encoder over time on the same vectors of frames; the first seed
    by_hand    6 frames and one fixed penalty, as one writes it without a library; the first seed

Arms of one seed have the same folds, so that they are compared clip by clip, with groups drawn for the interval. An arm
that is complete is not computed again. The clips are not part of the project: only figures are written.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import tyro
from results import write_result

from tubelet.api.probe import probe
from tubelet.probing.result import paired_interval

SEEDS = (0, 1, 2)
KEYS = ("top1", "mean_class", "auroc", "majority_baseline")
ARMS: dict[str, dict[str, Any]] = {
    "linear": {},
    "temporal": {"heads": ("temporal",)},
    "by_hand": {"penalties": (1.0,), "fields": {"protocol.num_frames": 6}},  # C = 1 in scikit-learn's words
}


@dataclass(frozen=True, kw_only=True)
class Options:
    fight: Path | None = None  # folder with fold0.csv; motion carries the class
    pocus: Path | None = None  # folder with fold0.csv; appearance carries the class
    work: Path = Path("runs/probe")  # folder of features and probes
    seeds: tuple[int, ...] = SEEDS  # of folds and random weights
    num_workers: int = 2  # processes that decode
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    sets = {name: folder for name in ("fight", "pocus") if (folder := getattr(options, name)) is not None}
    result = {name: figures(name, folder, options) for name, folder in sets.items()}
    print(json.dumps(result, indent=2))
    write_result("probe", {"date": date.today().isoformat(), "seeds": options.seeds, **result}, write=options.write)


def figures(name: str, folder: Path, options: Options) -> dict[str, Any]:
    """The figures of every arm and seed, the means of the default, and the differences between arms."""
    first = options.seeds[0]
    linear = [run(name, folder, "linear", seed, options) for seed in options.seeds]
    others = {arm: run(name, folder, arm, first, options) for arm in ("temporal", "by_hand")}
    return {
        "num_clips": linear[0]["num_clips"],
        "num_groups": linear[0]["num_groups"],
        "lite0": {key: mean(float(of["encoder"]["metrics"][key]) for of in linear) for key in KEYS},
        "random_weights": {key: mean(float(of["random_weights"]["metrics"][key]) for of in linear) for key in KEYS},
        "intervals": [of["encoder"]["intervals"] for of in linear],
        "difference": [[of["difference"], *(of["difference_interval"] or ())] for of in linear],
        "few_shot": linear[0]["few_shot"],
        "few_shot_random_weights": linear[0]["few_shot_random_weights"],
        "arms": {
            arm: {
                "lite0": {key: of["encoder"]["metrics"][key] for key in KEYS},
                "random_weights": {key: of["random_weights"]["metrics"][key] for key in KEYS},
                "linear_minus_this": difference(linear[0], of),
                "seconds": of["seconds"],
            }
            for arm, of in others.items()
        },
    }


def run(name: str, folder: Path, arm: str, seed: int, options: Options) -> dict[str, Any]:
    """``probe.json`` of an arm with the seconds it took; of a complete one as it was."""
    out = options.work / f"{name}-{arm}-{seed}"
    settings = {"few_shot": (1, 5, 20) if arm == "linear" and seed == options.seeds[0] else (), **ARMS[arm]}
    file, wanted = out / "arm.json", json.loads(json.dumps(settings))
    if file.is_file() and (found := json.loads(file.read_text(encoding="utf-8")))["settings"] == wanted:
        return dict(found)
    fields = {"data.num_workers": options.num_workers, **settings.pop("fields", {})}
    began = time.perf_counter()
    probe(folder / "fold0.csv", "lite0", out=out, seed=seed, fields=fields, **settings)
    content = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    content |= {"settings": wanted, "seconds": round(time.perf_counter() - began)}
    file.write_text(json.dumps(content), encoding="utf-8")
    return dict(content)


def difference(one: dict[str, Any], other: dict[str, Any]) -> list[float]:
    """Accuracy of one arm minus that of another on the same clips, with its 95 % interval over groups."""
    rows = {answer["path"]: answer for answer in other["answers"]}
    answers = [(answer, rows[answer["path"]]) for answer in one["answers"]]
    right = [float(a["encoder"] == a["label"]) - float(b["encoder"] == b["label"]) for a, b in answers]
    interval = paired_interval([a["group"] for a, _ in answers], torch.tensor(right))
    return [mean(right), *interval]


if __name__ == "__main__":
    main()
