"""Probes on two sets of real clips: a frozen EfficientNet-Lite0 against chance and against random weights.

python benchmarks/probe.py --fight FOLDER --pocus FOLDER    resumable; features are stored below runs/probe

Both sets are small, so that each is probed with three seeds of folds and random weights. Heads are chosen on validation
folds alone (`tubelet probe`). The clips are not part of the project: only figures are written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from results import write_result

from tubelet.api.probe import probe

SEEDS = (0, 1, 2)
KEYS = ("top1", "mean_class", "auroc", "majority_baseline")


@dataclass(frozen=True, kw_only=True)
class Options:
    fight: Path | None = None  # folder with fold0.csv; motion carries the class
    pocus: Path | None = None  # folder with fold0.csv; appearance carries the class
    work: Path = Path("runs/probe")  # folder of features and probes
    num_workers: int = 2  # processes that decode
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    sets = {name: folder for name in ("fight", "pocus") if (folder := getattr(options, name)) is not None}
    result = {name: figures(name, folder, options) for name, folder in sets.items()}
    print(json.dumps(result, indent=2))
    write_result("probe", {"date": date.today().isoformat(), "seeds": SEEDS, **result}, write=options.write)


def figures(name: str, folder: Path, options: Options) -> dict[str, Any]:
    """The figures of every seed, and their means."""
    found = []
    for seed in SEEDS:
        few_shot = (1, 5, 20) if seed == SEEDS[0] else ()
        fields = {"data.num_workers": options.num_workers}
        out = options.work / f"{name}-{seed}"
        found.append(probe(folder / "fold0.csv", "lite0", out=out, seed=seed, few_shot=few_shot, fields=fields))
    return {
        "num_clips": found[0].num_clips,
        "num_groups": found[0].num_groups,
        "lite0": {key: mean(float(r.encoder.metrics[key]) for r in found) for key in KEYS},
        "random_weights": {key: mean(float(r.random.metrics[key]) for r in found) for key in KEYS},
        "intervals": [r.encoder.intervals for r in found],
        "difference": [[r.difference, *(r.difference_interval or ())] for r in found],
        "few_shot": found[0].few_shot,
        "few_shot_random_weights": found[0].few_shot_random,
    }


if __name__ == "__main__":
    main()
