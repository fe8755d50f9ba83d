"""A run that trains for more epochs than it was begun with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support import content_of, error_of, rows_of
from tubelet import cli
from tubelet.errors import ConfigError
from tubelet.recipe import load_recipe
from tubelet.runs.extend import extended
from tubelet.runs.folder import read_facts, resume_recipe

CPU = ("--device", "cpu")
STEPS_PER_EPOCH = 9


def train(*words: str) -> None:
    assert cli.main(["train", *words, *CPU]) == 0


def steps(run: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in ("wait_share", "seconds")} for row in rows_of(run / "log.csv")]


def test_more_epochs_leave_what_is_trained_to_the_bit_and_recompute_the_rate(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    train(str(recipe_file), "--out", str(run), "--epochs", "1", "--training.keep_last_checkpoints", "2")
    before, first = steps(run), content_of(run / "checkpoints")
    capsys.readouterr()
    train("--resume", str(run), "--training.num_epochs", "2")
    said = capsys.readouterr().err
    assert "trains 2 epochs in place of 1; from step 9 on the learning rate is recomputed for 2 epochs" in said
    assert "going on from step 9 of 18, in epoch 2 of 2, at a learning rate of " in said
    after = steps(run)
    assert after[:STEPS_PER_EPOCH] == before
    assert first.items() <= content_of(run / "checkpoints").items()
    train(str(recipe_file), "--out", str(whole), "--epochs", "2")
    assert [row["lr"] for row in after[STEPS_PER_EPOCH:]] == [row["lr"] for row in steps(whole)[STEPS_PER_EPOCH:]]
    assert resume_recipe(run).training.num_epochs == 2
    (extension,) = read_facts(run)["extended"]
    assert (extension["step"], extension["num_epochs"]) == (STEPS_PER_EPOCH, [1, 2])
    record = json.loads((run / "last" / "tubelet.json").read_text(encoding="utf-8"))
    assert record["provenance"]["extended"] == [extension]
    same = load_file(run / "last" / "model.safetensors")
    train("--resume", str(run), "--training.num_epochs", "2")  # the same command again changes nothing
    assert all(tensor.equal(same[name]) for name, tensor in load_file(run / "last" / "model.safetensors").items())
    assert len(read_facts(run)["extended"]) == 1


def test_a_continued_schedule_keeps_its_rates_and_then_its_last(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(str(recipe_file), "--out", str(run), "--epochs", "1", "--optim.min_lr", "0.001")
    capsys.readouterr()
    train("--resume", str(run), "--training.num_epochs", "2", "--schedule", "continue")
    assert "goes on as before over 1 epochs, and stays at 0.001 after them" in capsys.readouterr().err
    assert {float(row["lr"]) for row in steps(run)[STEPS_PER_EPOCH:]} == {0.001}


def test_what_cannot_be_extended_is_refused_and_left_alone(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(str(recipe_file), "--out", str(run), "--epochs", "1")
    capsys.readouterr()
    before = content_of(run)
    resume = ["train", "--resume", str(run), *CPU]
    refused = {
        ("--training.num_epochs", "0"): "num_epochs must be at least 1",
        ("--training.num_epochs", "2", "--optim.lr", "1"): "give the run folder and nothing else",
        ("--training.num_epochs", "2", "--schedule", "continue"): "would learn nothing; give --schedule recompute",
        ("--schedule", "continue"): "give --training.num_epochs too",
    }
    for words, line in refused.items():
        assert line in error_of([*resume, *words], capsys)
    again = ["train", str(recipe_file), "--out", str(run), "--training.num_epochs", "2", *CPU]
    assert f"--resume {run} --training.num_epochs 2 for more epochs" in error_of(again, capsys)
    (run / "outcome.json").touch()
    assert "a run of a sweep or a comparison" in error_of([*resume, "--training.num_epochs", "2"], capsys)
    (run / "outcome.json").unlink()
    assert content_of(run) == before
    assert cli.main([*resume, "--training.num_epochs", "2", "--dry-run"]) == 0
    assert "for 2 epochs in place of 1" in " ".join(capsys.readouterr().out.split())
    assert content_of(run) == before


def test_epochs_are_not_taken_away_and_steps_stay_where_they_are(recipe_file: Path) -> None:
    recipe = load_recipe(str(recipe_file))
    with pytest.raises(ConfigError, match="which --resume may only raise"):
        extended(recipe, 2, "recompute")
    assert extended(recipe, 3, "continue") == recipe
    stepped = load_recipe(str(recipe_file), [("optim.step_epochs", "1,2")])
    for how in ("continue", "recompute"):
        assert extended(stepped, 5, how).optim == stepped.optim
    once = extended(load_recipe(str(recipe_file), [("optim.min_lr", "0.001")]), 5, "continue")
    assert once.optim.schedule_epochs == 3
    assert extended(once, 9, "continue").optim.schedule_epochs == 3
    assert extended(once, 9, "recompute").optim.schedule_epochs is None
