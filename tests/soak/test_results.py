"""The longer proofs: `make soak`. Each goes on where it stopped and writes its result (fixture ``results``).

Runs live in runs/soak; remove that folder to measure anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from tubelet.studies.statistics import interval_of

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "soak"

pytestmark = pytest.mark.soak


def tubelet(*words: str) -> Any:
    """The JSON that a command prints on stdout; its progress goes through to stderr."""
    done = subprocess.run([sys.executable, "-m", "tubelet", *words, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def write_result(folder: Path, name: str, command: str, runs: list[dict[str, Any]], content: dict[str, Any]) -> None:
    """One JSON file per proof: the command a user types, when it ran, on which versions, and what came out."""
    facts = json.loads((Path(runs[0]["run"]) / "run.json").read_text(encoding="utf-8"))
    head = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "device": facts["device"],
        "num_threads": facts["num_threads"],
        "versions": facts["versions"],
    }
    (folder / f"{name}.json").write_text(json.dumps(head | content, indent=2) + "\n", encoding="utf-8")


def row_of(run: dict[str, Any]) -> dict[str, Any]:
    """What a table of results shows of one run."""
    kept = (
        "split",
        "top1",
        "mean_class",
        "auroc",
        "num_videos",
        "num_failed",
        "views",
        "majority_baseline",
        "train_seconds",
    )
    return {name: run[name] for name in kept}


def test_demo_tells_the_motions_apart_and_frames_without_order_do_not(results: Path) -> None:
    runs = tubelet("demo", "--out", str(RUNS / "demo"))
    rows = {name: row_of(run) for name, run in runs.items()}
    write_result(results, "demo", "tubelet demo", list(runs.values()), {"rows": rows})
    assert rows["motion/vivit_fe"]["top1"] >= 0.8
    # Half is the bound on the distribution; 320 videos scatter around it by 2.8 points (one standard deviation).
    assert rows["motion/frames_avgpool"]["top1"] <= 0.5 + 3 * 0.028


def seeds_of(recipe: str, num_seeds: int, folder: Path, name: str) -> dict[str, Any]:
    """Runs of a recipe on AdrenalMNIST3D, written to ``folder``; spread and 95 % intervals of their figures."""
    words = ["train", recipe, "--seeds", str(num_seeds)]
    runs = tubelet(*words, "--out", str(RUNS / name))
    assert [run["num_videos"] for run in runs] == [298] * num_seeds
    columns = {name: [run[name] for run in runs] for name in ("top1", "auroc", "mean_class")}
    intervals = {name: interval_of(np.array(values)) for name, values in columns.items()}
    spread = {
        name: {"mean": mean(values), "sd": stdev(values), "low": intervals[name].low, "high": intervals[name].high}
        for name, values in columns.items()
    }
    content = {"spread": spread, "rows": [row_of(run) for run in runs]}
    write_result(folder, name, " ".join(["tubelet", *words]), runs, content)
    return spread


def test_adrenalmnist3d_over_three_seeds_beats_always_answering_normal_by_auroc(results: Path) -> None:
    spread = seeds_of("adrenalmnist3d/vivit_ti_joint", 3, results, "adrenalmnist3d")
    assert spread["auroc"]["mean"] > 0.7


def test_the_finer_recipe_beats_what_medmnist_v2_published_on_adrenalmnist3d(results: Path) -> None:
    spread = seeds_of("adrenalmnist3d/vivit_p3_joint", 5, results, "adrenalmnist3d_p3")
    assert spread["auroc"]["mean"] > 0.839  # ResNet-18 + ACS
    assert spread["top1"]["mean"] > 0.802  # auto-sklearn
