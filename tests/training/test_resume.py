"""A run killed with SIGKILL at a random step ends with the bits of the run that was not."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tubelet.cli import main
from tubelet.errors import CheckpointError, ConfigError, DataError
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.training.state import resume

NUM_STEPS = 3 * 9  # epochs of the recipe x its steps per epoch

# Trains by the recipe argv[1] in the folder argv[2], and kills itself with SIGKILL when step argv[3] begins.
KILLED = """
import os, signal, sys
import tubelet.training.step as step_file
from tubelet.cli import main

original = step_file.step_seed

def step_seed(seed, step):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(seed, step)

if __name__ == "__main__":
    step_file.step_seed = step_seed
    sys.exit(main(["train", sys.argv[1], "--out", sys.argv[2], "--data.num_workers", sys.argv[4], "--device", "cpu"]))
"""


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def tables(run: Path) -> list[list[dict[str, str]]]:
    """log.csv and validation.csv without the columns that say how long things took."""
    found = []
    for name in ("log.csv", "validation.csv"):
        with (run / name).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        found.append([{k: v for k, v in row.items() if k not in ("wait_share", "seconds")} for row in rows])
    return found


@pytest.fixture
def uninterrupted(tmp_path: Path, recipe_file: Path) -> Path:
    """The same recipe without a kill and without workers."""
    run = tmp_path / "uninterrupted"
    assert main(["train", str(recipe_file), "--out", str(run), "--data.num_workers", "0", "--device", "cpu"]) == 0
    return run


def test_killed_at_random_steps_resumes_to_the_same_bits_without_workers_and_with_two(
    tmp_path: Path, recipe_file: Path, uninterrupted: Path
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(KILLED, encoding="utf-8")
    expected = tables(uninterrupted)
    assert len(expected[0]) == NUM_STEPS
    for number, step in enumerate(random.Random(2026).sample(range(1, NUM_STEPS), 2)):
        run, workers = tmp_path / f"killed-at-{step}", str(2 * (number % 2))
        killed = run_python(str(driver), str(recipe_file), str(run), str(step), workers)
        assert killed.returncode == -9, killed.stderr
        assert main(["train", "--resume", str(run), "--device", "cpu"]) == 0
        assert tables(run) == expected
        for checkpoint in ("best", "last"):
            weights = load_file(run / checkpoint / "model.safetensors")
            for name, tensor in load_file(uninterrupted / checkpoint / "model.safetensors").items():
                assert tensor.equal(weights[name]), f"killed at step {step}: {checkpoint}/{name} differs"


def test_a_run_folder_takes_no_other_recipe_and_no_other_data(recipe_file: Path, volumes: Path) -> None:
    run = recipe_file.parent / "run"
    short = [("training.num_epochs", "1")]
    run_recipe(load_recipe(str(recipe_file), short), run, Session())
    with pytest.raises(ConfigError, match="another recipe"):
        run_recipe(load_recipe(str(recipe_file)), run, Session())
    with np.load(volumes, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["train_images"][0, 0, 0, 0] ^= 1
    np.savez(volumes, **arrays)
    with pytest.raises(DataError, match="the data changed"):
        run_recipe(load_recipe(str(recipe_file), short), run, Session())


def test_a_damaged_state_is_refused_and_kept(tmp_path: Path, recipe_file: Path) -> None:
    run = tmp_path / "run"
    recipe = load_recipe(str(recipe_file), [("training.num_epochs", "1")])
    run_recipe(recipe, run, Session())
    state = run / resume.FILE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot resume"):
        run_recipe(recipe, run, Session())
    assert state.stat().st_size == 1000
