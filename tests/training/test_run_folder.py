"""The folder of a run: one process at a time, and any place that is a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support import Notes, content_of
from tubelet import cli
from tubelet.errors import ConfigError, TubeletError
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.folder_lock import FILE, locked
from tubelet.session.session import Session

WILD = [("optim.lr", "1e30"), ("optim.clip_grad_norm", "none"), ("optim.name", "sgd"), ("optim.weight_decay", "0")]
SHORT = [("training.num_epochs", "1")]


def test_a_second_process_in_a_run_folder_is_refused_and_harms_nothing(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run), "--training.num_epochs", "500", "--device", "cpu"]
    first = subprocess.Popen(
        [sys.executable, "-m", "tubelet", *words], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )
    while not (run / "best").exists():
        assert first.poll() is None
        time.sleep(0.05)
    recipe = load_recipe(str(recipe_file), [("training.num_epochs", "500")])
    with pytest.raises(ConfigError, match=f"process {first.pid} of this machine works there"):
        run_recipe(recipe, run, Session())
    assert (run / FILE).exists()
    first.kill()
    first.communicate()

    class Ends(Notes):
        def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
            raise TubeletError("enough")

    notes = Ends()
    with pytest.raises(TubeletError, match="enough"):
        run_recipe(recipe, run, Session(progress=notes))
    assert any(f"in place of process {first.pid}" in note for note in notes.notes)
    assert any(note.startswith("going on from step ") for note in notes.notes)
    assert not (run / FILE).exists()


def test_a_run_that_was_taken_over_writes_nothing_more(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before: dict[str, bytes] = {}

    class TakesOver(Notes):
        def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
            (run / FILE).write_text("{}", encoding="utf-8")
            before.update(content_of(run))

    with pytest.raises(TubeletError, match="writes nothing more there"):
        run_recipe(load_recipe(str(recipe_file)), run, Session(progress=TakesOver()))
    after = content_of(run)
    # TensorBoard's writer and the table of validations end with what they held already.
    assert {name for name in after if after[name] != before.get(name)} <= {"validation.csv", *_events(after)}
    assert after["resume.pt"] == before["resume.pt"]


def _events(content: dict[str, bytes]) -> set[str]:
    return {name for name in content if name.startswith("tensorboard/")}


def test_the_current_folder_is_a_run_folder_and_empty_again_after_an_error(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(TubeletError, match="not finite"):
        run_recipe(load_recipe(str(recipe_file), WILD), Path(), Session())
    assert list(Path().iterdir()) == []
    assert cli.main(["train", str(recipe_file), "--out", ".", "--training.num_epochs", "1", "--device", "cpu"]) == 0
    assert "here: test: " in capsys.readouterr().err
    assert (tmp_path / "here" / "best").is_dir()


def test_the_root_of_a_mounted_file_system_is_a_run_folder(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mount" / "lost+found").mkdir(parents=True)
    with pytest.raises(TubeletError, match="not finite"):
        run_recipe(load_recipe(str(recipe_file), WILD), tmp_path / "mount", Session())
    assert [path.name for path in (tmp_path / "mount").iterdir()] == ["lost+found"]
    run_recipe(load_recipe(str(recipe_file), SHORT), tmp_path / "mount", Session())


def test_what_is_in_the_way_of_a_folder_is_named(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(recipe_file), SHORT)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    for out, line in (("link", f"is a link to {tmp_path / 'gone'}, which does not exist"), ("file", "is a file")):
        for folder in (tmp_path / out, tmp_path / out / "run"):
            with pytest.raises(ConfigError, match=line) as caught:
                run_recipe(recipe, folder, Session())
            assert str(caught.value).startswith(f"{tmp_path / out}: ")


def test_a_folder_that_somebody_holds_is_a_problem_of_the_plan(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        words = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--dry-run", "--device", "cpu"]
        assert cli.main(words) == 1
    assert "works there since" in capsys.readouterr().out
    assert cli.main(words) == 0


def test_a_sweep_holds_its_folder(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep").mkdir()
    words = ["train", str(recipe_file), "--out", str(tmp_path / "sweep"), "--sweep", "optim.lr=0.1,0.2"]
    with locked(tmp_path / "sweep"):
        assert cli.main(words) == 1
    assert "works there since" in capsys.readouterr().err
    assert list((tmp_path / "sweep").iterdir()) == []
