"""Twenty calls that share work and are killed at random moments lose nothing: `make soak`.

python -m pytest -m soak tests/soak/test_shared_kills.py

A call is a fork of this process, so that kills fall into the work and not into imports. Where a folder is finished
before the twentieth kill, the next one begins.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from support import checkpoint, videos
from tubelet import cli
from tubelet.session.shards import PARTS

__all__ = ["checkpoint", "videos"]
pytestmark = pytest.mark.soak

NUM_KILLS, NUM_FILES = 20, 16


def call(words: list[str], kill_after: float | None) -> bool:
    """Run a command in a fork. Return whether it came to its end."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        os._exit(cli.main(words))
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def test_killed_calls_lose_nothing_and_join_to_what_one_call_writes(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    footage = tmp_path / "footage"
    footage.mkdir()
    for number, file in enumerate(sorted((videos / "train").rglob("*.mp4"))[:NUM_FILES]):
        shutil.copy(file, footage / f"{number}.mp4")
    words = ["predict", str(checkpoint), str(footage), "--num-workers", "0", "--device", "cpu"]
    one = tmp_path / "one.csv"
    assert call([*words, "--csv", str(one)], None)
    began = time.monotonic()
    assert call([*words, "--out", str(tmp_path / "timed")], None)
    seconds = time.monotonic() - began
    dice, kills, rounds = random.Random(0), 0, 0
    while kills < NUM_KILLS:
        out = tmp_path / f"out-{rounds}"
        rounds += 1
        there: set[str] = set()
        for shard in ("1/2", "2/2"):
            limit = seconds
            while not call([*words, "--out", str(out), "--shard", shard], dice.uniform(0, limit)):
                kills, limit = kills + 1, 1.2 * limit  # on a machine that became slower it ends as well
                parts = {path.name for path in (out / PARTS).glob("0*")}
                assert there <= parts
                there = parts
        assert len(list((out / PARTS).glob("0*"))) == NUM_FILES
        assert (out / "predictions.csv").read_bytes() == one.read_bytes()
    print(f"{kills} kills in {rounds} runs of {NUM_FILES} files, {seconds:.1f} s each")
