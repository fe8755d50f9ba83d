"""Runs that are killed, or whose disk is full, at random moments, and what becomes of them.

A tiny model on a few volumes, whose state is written after every step and whose checkpoints after every epoch, so that
a moment picked at random often falls into writing.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

import tiny_recipe
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.training.state.resume import FILE as STATE
from tubelet.weights.checkpoint.checkpoint import load_checkpoint

RECIPE = {
    "model": tiny_recipe.RECIPE["model"],
    "protocol": {**tiny_recipe.RECIPE["protocol"], "num_frames": 4, "num_temporal_views": 1},
    "augment": {"volume_flips": True, "mix": {"mixup": 0.3}},
    "optim": {"lr": 0.003, "warmup_epochs": 0.5, "weight_decay": 0.05},
    "training": {
        "num_epochs": 4,
        "batch_size": 8,
        "checkpoint_every_steps": 1,
        "ema_decay": 0.9,
        "keep_last_checkpoints": 2,
    },
}
STEPS_PER_EPOCH, NUM_STEPS = 4, 16
KEPT = ("best", "last", "checkpoints/step-00000012", "checkpoints/step-00000016")
_WAIT_SECONDS = 120.0  # for a process to begin; it is then ended


@dataclass(frozen=True)
class Killed:
    """What was found after an interruption, and after the run went on."""

    how: str  # killed, or full disk
    after_seconds: float  # since training began
    step: int  # of the state that was left; 0: none yet
    writing: tuple[str, ...]  # what was half written, by the names that its leftovers had
    damaged: tuple[str, ...]  # states and checkpoints that cannot be read
    exit_code: int
    said: str  # last line on stderr
    different: tuple[str, ...]  # after going on: what differs from the uninterrupted run
    left_over: tuple[str, ...]  # after going on: files of unfinished writes


def write_recipe(folder: Path, num_workers: int = 0) -> Path:
    """The recipe and its data in ``folder``."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 8 * STEPS_PER_EPOCH), ("val", 10), ("test", 4)):
        labels = np.arange(count)[:, None] % 2
        ramp = np.linspace(-60, 60, 4)[None, :, None, None] * (2 * labels[:, :, None, None] - 1)
        images = 128 + ramp + rng.normal(0, 30, (count, 4, 18, 18))
        arrays |= {f"{split}_images": images.clip(0, 255).astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "volumes.npz", **arrays)
    file = folder / "recipe.yaml"
    data = {"source": str(folder / "volumes.npz"), "num_workers": num_workers}
    file.write_text(yaml.safe_dump({**RECIPE, "data": data}), encoding="utf-8")
    return file


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tubelet", "train", *words, "--device", "cpu"]


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A run in a process group of its own, whose stderr goes to a file."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            command(*words),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )


def finish(recipe: Path, run: Path) -> float:
    """Carry a run out, or go on with it, in this process; the seconds of training so far."""
    result = run_recipe(load_recipe(str(recipe)), run, Session())
    return result.state.seconds


def wait_for(condition: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a file is there, or the process has ended."""
    until = time.monotonic() + _WAIT_SECONDS
    while not condition.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


def kill_at_random(recipe: Path, run: Path, rng: random.Random, seconds: float) -> tuple[float, int]:
    """SIGKILL to the whole process group at a moment of the ``seconds`` after training begins."""
    process = start([str(recipe), "--out", str(run)], run.with_suffix(".log"))
    wait_for(run / "log.csv", process)
    delay = rng.uniform(0, seconds)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return delay, process.wait()


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def leftovers(run: Path) -> tuple[str, ...]:
    """Unfinished files and folders, without the number of the process."""
    found = [*run.glob(".*"), *(run / "checkpoints").glob(".*")]
    return tuple(sorted(re.sub(r"\.\d+\.new$", ".new", path.name) for path in found))


def damaged(run: Path) -> tuple[str, ...]:
    """States and checkpoints, also those just being replaced, that cannot be read whole."""
    bad = []
    if (run / STATE).exists():
        try:
            torch.load(run / STATE, weights_only=True)
        except Exception:
            bad.append(STATE)
    for folder in [run / "best", run / "last", *(run / "checkpoints").glob("step-*")]:
        aside = folder.with_name(f".{folder.name}.old")
        there = folder if folder.exists() else aside
        try:
            if there.exists():
                load_checkpoint(there)
        except Exception:
            bad.append(there.name)
    return tuple(bad)


def step_of(run: Path) -> int:
    if not (run / STATE).exists():
        return 0
    step: int = torch.load(run / STATE, weights_only=True)["progress"]["step"]
    return step


def is_trained(run: Path) -> bool:
    """Whether the last validation and its checkpoints are done, and only the test is left."""
    return (run / STATE).exists() and torch.load(run / STATE, weights_only=True)["progress"]["closed_step"] == NUM_STEPS


def different(run: Path, expected: Path) -> tuple[str, ...]:
    """Tensors of the state and of all checkpoints, and tables, that are not those of the uninterrupted run."""
    found = []
    for name in KEPT:
        ours = load_file(run / name / "model.safetensors")
        theirs = load_file(expected / name / "model.safetensors")
        found += [f"{name}/{key}" for key in ours.keys() | theirs.keys() if not _equal(ours.get(key), theirs.get(key))]
    states = [torch.load(folder / STATE, weights_only=True) for folder in (run, expected)]
    for part in ("model", "average"):
        found += [
            f"{part}/{key}" for key in states[1][part] if not _equal(states[0][part].get(key), states[1][part][key])
        ]
    moments = [state["optimizer"]["state"] for state in states]
    found += [
        f"optimizer/{number}/{key}"
        for number, values in moments[1].items()
        for key, value in values.items()
        if not torch.as_tensor(moments[0][number][key]).equal(torch.as_tensor(value))
    ]
    found += [table for table in ("log.csv", "validation.csv") if _rows(run / table) != _rows(expected / table)]
    return tuple(found)


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and one.equal(other)


def _rows(table: Path) -> list[list[str]]:
    """Without the last two columns of log.csv, which say how long things took."""
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
    return [row[:-2] for row in rows] if table.name == "log.csv" else rows


# Trains by argv[4:], and argv[2] seconds after the file argv[1] is there no file may grow beyond argv[3] bytes.
FULL_DISK = """
import resource, sys, threading, time
from pathlib import Path
from tubelet.cli import main

def fill():
    while not Path(sys.argv[1]).exists():
        time.sleep(0.002)
    time.sleep(float(sys.argv[2]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), hard))

threading.Thread(target=fill, daemon=True).start()
sys.exit(main(sys.argv[4:]))
"""


def limit_at_random(recipe: Path, run: Path, rng: random.Random, seconds: float) -> tuple[float, int]:
    """As on a full disk: from a moment of the ``seconds`` after training begins no file may become longer than a
    length picked at random, most often shorter than what is written next."""
    delay, length = rng.uniform(0, seconds), rng.choice([0, 1000, 20_000])
    words = [str(recipe), "--out", str(run), "--device", "cpu"]
    with run.with_suffix(".log").open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(run / "log.csv"), str(delay), str(length), "train", *words],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stream,
            check=False,
        )
    return delay, done.returncode


def fill_at_random(recipe: Path, run: Path, rng: random.Random, seconds: float) -> tuple[float, int]:
    """On a file system of its own: a file takes all the room at a moment of the ``seconds`` after training begins, and
    is removed when the run has ended."""
    process = start([str(recipe), "--out", str(run)], run.parent.with_suffix(".log"))
    wait_for(run / "log.csv", process)
    delay = rng.uniform(0, seconds)
    time.sleep(delay)
    filler = run.parent / "filler"
    with filler.open("wb", buffering=0) as stream:
        while process.poll() is None:
            try:
                stream.write(bytes(65536 if rng.random() < 0.5 else 512))
            except OSError:
                time.sleep(0.01)
    filler.unlink()
    return delay, process.wait()


def look(how: str, delay: float, code: int, run: Path, log: Path) -> Killed:
    """What an interruption left; ``different`` and ``left_over`` are not known yet."""
    return Killed(
        how=how,
        after_seconds=round(delay, 3),
        step=step_of(run),
        writing=leftovers(run),
        damaged=damaged(run),
        exit_code=code,
        said=last_line(log),
        different=(),
        left_over=(),
    )
