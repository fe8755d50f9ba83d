"""``tubelet train`` that is asked to end: the exit code of the signal, one line, and a run that goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import MODEL, TINY, TRAIN_TINY, rows_of
from tubelet import cli
from tubelet.data.video.packet_index_store import STORE_NAME, IndexStore
from tubelet.errors import Stopped
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session


def test_sigterm_to_the_whole_group_gives_143_and_a_line_and_no_video_counts_as_unreadable(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Slurm sends it: to the readers too."""
    out, log = tmp_path / "run", tmp_path / "stderr"
    options = [*TRAIN_TINY, "--training.num_epochs", "200", "--data.num_workers", "2"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tubelet", "train", "--data", str(videos), "--out", str(out), *options],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=stream,
            start_new_session=True,
        )
    while not (out / "validation.csv").exists() or not rows_of(out / "validation.csv"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    step = len(rows_of(out / "log.csv"))
    assert last == (
        f"tubelet: {out}: stopped by SIGTERM after step {step} of 400; "
        f"go on with `tubelet train --resume {out} --device cpu`"
    )
    assert {row["num_failed"] for row in rows_of(out / "log.csv")} == {"0"}
    assert cli.main(["train", "--resume", str(out), "--dry-run"]) == 0
    assert "goes on from its last state" in capsys.readouterr().out


def test_sigterm_while_videos_are_indexed_ends_the_run_after_the_file_at_hand(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out, seen = tmp_path / "videos", tmp_path / "run", list[int]()
    shutil.copytree(videos, root, ignore=shutil.ignore_patterns(STORE_NAME))

    class StopsAtSecondFile(NoProgress):
        def advance(self, done: int, total: int, text: str = "") -> None:
            seen.append(done)
            if done == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    small = {"model": {"name": MODEL, **TINY}, "data.source": str(root), "data.num_workers": 0}
    recipe = load_recipe("folder/default", [(name, repr(value)) for name, value in small.items()])
    with pytest.raises(Stopped) as caught:
        run_recipe(recipe, out, Session(progress=StopsAtSecondFile()))
    assert caught.value.signal_number == signal.SIGTERM
    assert seen == [0, 1, 2]
    store = IndexStore.beside(root)
    assert sum(store.get(file) is not None for file in root.rglob("*.mp4")) == 3
    assert cli.main(["train", "--resume", str(out), "--dry-run"]) == 0
    assert "nothing found that would stop this run" in capsys.readouterr().out
