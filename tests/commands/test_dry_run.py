"""``tubelet train --dry-run``: everything on stdout, nothing on the disk, and an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import TRAIN_TINY
from tubelet import cli


def dry_run(videos: Path, out: Path, *options: str) -> int:
    return cli.main(["train", "--data", str(videos), "--out", str(out), *TRAIN_TINY, "--dry-run", *options])


def test_it_tells_rows_steps_rates_parameters_and_costs(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(videos, tmp_path / "run", "--optim.layer_decay", "0.5") == 0
    out = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    for said in (
        "train 16, val 8, test 16",
        "2 per epoch, 2 in 1 epochs; 8 clips each",
        "layer_decay: 0.5",
        "classes of label",
        "head: ",
        "rate x 0.5",
        "GMACs per epoch",
        "for one device (no launcher): weights",
        "estimated: what autograd keeps",
        "█",
        "nothing found that would stop this run",
    ):
        assert said in out


def test_problems_are_a_line_each_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("a file")
    assert dry_run(tmp_path / "nowhere", tmp_path / "run") == 1
    out = capsys.readouterr().out
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert "nowhere" in problems[0]
    assert problems[1].endswith("is a file, expected a folder; give another --out")
    assert "not known without data" in out
    assert "parameters" in out


def test_json_is_the_whole_plan(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(videos, tmp_path / "run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["data"]["rows"] == {"train": 16, "val": 8, "test": 16}
    assert plan["schedule"]["num_steps"] == 2
    assert plan["recipe"]["training"]["batch_size"] == 8
    names = [name for group in plan["model"]["groups"] for name in group["names"]]
    assert "head.weight" in names
    memory = plan["memory_bytes"]
    parts = ("weights", "gradients", "optimizer", "average", "activations", "clips")
    assert memory["total"] == sum(memory[part] for part in parts)
    assert plan["problems"] == []


def test_a_shipped_recipe_can_be_looked_at_without_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "kinetics400/vtn_r50", "--dry-run", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "0.001 at 0.0" in out.replace("1.00e-03", "0.001")
    assert "weight decay 0.0001" in out
    assert "problem: my_clips: no such folder" in out
    assert list(tmp_path.iterdir()) == []
