"""A compiled run: killed and resumed to the same bits, its checkpoint that of any other run; no compiler, no start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from tiny_recipe import RECIPE

pytestmark = pytest.mark.soak

KILL_AT = 5
# Trains by the recipe argv[1] in the folder argv[2] and kills itself with SIGKILL before step KILL_AT.
KILLED = f"""
import os, signal, sys
import tubelet.training.step as step_file
from tubelet.cli import main

original = step_file.step_seed

def step_seed(seed, step):
    if step == {KILL_AT}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(seed, step)

step_file.step_seed = step_seed
sys.exit(main(["train", sys.argv[1], "--out", sys.argv[2], "--device", "cpu"]))
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """One epoch of nine steps, compiled, with dropout, stochastic depth and gradient checkpointing."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 72), ("val", 10), ("test", 10)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 10, 18, 18), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    np.savez(tmp_path / "volumes.npz", **arrays)
    training = {**RECIPE["training"], "num_epochs": 1, "compile": True, "gradient_checkpointing": True}
    data = {"source": str(tmp_path / "volumes.npz"), "num_workers": 0}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "training": training, "data": data}), encoding="utf-8")
    return file


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)


def test_killed_and_resumed_it_ends_with_the_same_bits_under_the_usual_names(tmp_path: Path, recipe: Path) -> None:
    options = ("--device", "cpu")
    whole = run_python("-m", "tubelet", "train", str(recipe), "--out", str(tmp_path / "whole"), *options)
    assert whole.returncode == 0, whole.stderr
    driver = tmp_path / "driver.py"
    driver.write_text(KILLED, encoding="utf-8")
    killed = run_python(str(driver), str(recipe), str(tmp_path / "killed"))
    assert killed.returncode == -9, killed.stderr
    resumed = run_python("-m", "tubelet", "train", "--resume", str(tmp_path / "killed"), *options)
    assert resumed.returncode == 0, resumed.stderr
    expected = load_file(tmp_path / "whole" / "last" / "model.safetensors")
    found = load_file(tmp_path / "killed" / "last" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert not any("_orig_mod" in name for name in found)
    for name, tensor in expected.items():
        assert tensor.equal(found[name]), name


def test_without_a_compiler_it_does_not_begin(tmp_path: Path, recipe: Path) -> None:
    environment = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    out = tmp_path / "run"
    done = run_python("-m", "tubelet", "train", str(recipe), "--out", str(out), "--device", "cpu", **environment)
    assert done.returncode == 1
    assert "training.compile needs a C++ compiler" in done.stderr.splitlines()[-1]
    assert not out.exists()
