"""A comparison that is killed ten times at random moments: `make soak`.

python -m pytest -m soak tests/soak/test_comparison_kills.py -s

The command itself, on two processes: it generates clips, trains a model to start from, tunes, makes final runs and
writes its report. A session lasts up to a third of the time that the whole takes uninterrupted on this machine, so that
kills fall into imports, generating, training and testing of one and the same comparison. SIGKILL goes to the whole
process group; where it came to its end before the tenth kill, it begins anew in another folder. Writes
comparison_kills.json (fixture ``results``).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tiny_comparison import WITH_ASSETS, write_comparison

NUM_KILLS = 10
IMPORTS_SECONDS = 4.0
# Runs of some seconds, whose states are written every few steps.
CONTENT: dict[str, Any] = {
    **WITH_ASSETS,
    "generated": {
        "motion": {"counts": {"train": 64, "val": 16, "test": 16}, "size_pixels": 32, "num_frames": 8},
        "shapes": {"counts": {"train": 50, "val": 10}, "size_pixels": 32, "num_frames": 8, "classes": "shapes"},
    },
    "fields": {**WITH_ASSETS["fields"], "training.num_epochs": 25, "training.checkpoint_every_steps": 5},
    "num_seeds": 5,
}

pytestmark = pytest.mark.soak


def command_in(folder: Path, file: Path) -> list[str]:
    words = ["compare", str(file), "--out", str(folder), "--jobs", "2", "--device", "cpu"]
    return [sys.executable, "-m", "tubelet", *words]


def start(folder: Path, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_in(folder, file),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def result_in(folder: Path) -> Any:
    """Everything that was found, measured times and the command aside."""
    content = json.loads((folder / "result.json").read_text())
    assert set(content.pop("costs")) == {"motion"}
    content.pop("command")
    return content


def num_runs(folder: Path) -> int:
    return len(list(folder.glob("runs/*/*/*/outcome.json")))


def num_cut(folder: Path) -> int:
    """Runs that have trained, and are not over."""
    states = [*folder.glob("runs/*/*/*/resume.pt"), *folder.glob("starts/*/*/resume.pt")]
    return sum(not state.with_name("outcome.json").exists() for state in states)


def killed_at_random(folder: Path, file: Path, most_seconds: float, rng: random.Random) -> dict[str, Any] | None:
    """One session and what stood there when it was killed; none: it came to its end."""
    process, seconds = start(folder, file), rng.uniform(IMPORTS_SECONDS, most_seconds)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = {"finished_runs": num_runs(folder), "half_done_runs": num_cut(folder)}
        return {"comparison": folder.name, "after_seconds": round(seconds, 2), **found}
    assert process.returncode == 0
    return None


def test_killed_ten_times_it_ends_with_the_numbers_of_the_uninterrupted_one(tmp_path: Path, results: Path) -> None:
    file, rng = write_comparison(tmp_path, **CONTENT), random.Random(0)
    begin = time.monotonic()
    assert start(tmp_path / "whole", file).wait() == 0
    whole_seconds, expected = time.monotonic() - begin, result_in(tmp_path / "whole")
    kills: list[dict[str, Any]] = []
    folders = [tmp_path / "killed0"]
    while len(kills) < NUM_KILLS:
        kill = killed_at_random(folders[-1], file, whole_seconds / 3, rng)
        if kill is None:
            folders.append(tmp_path / f"killed{len(folders)}")
        else:
            kills.append(kill)
            print(f"comparison: kill {len(kills)} of {NUM_KILLS}: {kill}", flush=True)
    assert start(folders[-1], file).wait() == 0
    differing = [folder.name for folder in folders if result_in(folder) != expected]
    content = {
        "command": "python -m pytest -m soak tests/soak/test_comparison_kills.py -s",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"torch": version("torch")},
        "runs": num_runs(tmp_path / "whole"),
        "uninterrupted_seconds": round(whole_seconds, 1),
        "comparisons": len(folders),
        "kills": kills,
        "comparisons_with_other_numbers": len(differing),
    }
    (results / "comparison_kills.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    assert differing == []
