"""A grid of recipes: balanced, resumable, chosen by validation, diverged runs counted, the test split kept for last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import error_of, rows_of
from tiny_comparison import CONTENT, write_volumes
from tubelet import cli
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.result import FILE, RunResult
from tubelet.studies.sweep import parse_axes, run_sweep


def test_axes_are_read_and_commas_in_brackets_belong_to_a_value() -> None:
    rates, sizes = parse_axes(["optim.lr=1e-4, 3e-4", "protocol.crop_size=[16,16],[32,32]"])
    assert (rates.field, rates.values) == ("optim.lr", ("1e-4", "3e-4"))
    assert sizes.values == ("[16,16]", "[32,32]")


@pytest.mark.parametrize("texts", [["optim.lr"], ["optim.lr="], ["=1"], ["optim.lr=1,"], ["a=1,1"], ["a=1", "a=2"]])
def test_axes_that_say_nothing_or_repeat_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="--sweep"):
        parse_axes(texts)


def result(value: float | None) -> RunResult:
    metrics: dict[str, Any] = {} if value is None else {"top1": value, "loss": 1 - value}
    return RunResult(
        key="k", diverged="loss nan" if value is None else None, metrics=metrics, num_steps=4, train_seconds=1.0
    )


def make(values: tuple[tuple[str, str], ...], seed: int) -> Recipe:
    return load_recipe("adrenalmnist3d/vivit_ti_joint", [*values, ("seed", str(seed))])


def test_runs_go_seed_by_seed_and_every_one_is_written_down(tmp_path: Path) -> None:
    made: list[str] = []

    def carry_out(recipe: Recipe, folder: Path) -> RunResult:
        if made:
            assert len(rows_of(tmp_path / "sweep.csv")) == len(made)
        made.append(folder.relative_to(tmp_path).as_posix())
        return result(None if recipe.optim.lr == 0.1 and recipe.seed == 1 else 0.5 + recipe.optim.lr)

    axes = parse_axes(["optim.lr=0.1,0.01,0.02"])
    sweep = run_sweep(axes, range(2), make, carry_out, tmp_path, metric="top1")
    assert made == [f"lr={rate}/seed{seed}" for seed in (0, 1) for rate in ("0.1", "0.01", "0.02")]
    assert sweep.best is not None
    assert dict(sweep.best.values) == {"optim.lr": "0.02"}  # 0.1 is better where it does not diverge
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert (content["num_runs"], content["num_diverged"], content["best"]) == (6, 1, {"optim.lr": "0.02"})
    ends = [row["outcome"] for row in rows_of(tmp_path / "sweep.csv")]
    assert ends == ["finished", "diverged", *["finished"] * 4]


def test_the_lowest_loss_is_best_and_nothing_is_where_all_diverge(tmp_path: Path) -> None:
    axes = parse_axes(["optim.lr=0.1,0.01"])
    found = run_sweep(axes, [0], make, lambda r, f: result(r.optim.lr), tmp_path, metric="loss")
    assert found.best is not None
    assert dict(found.best.values) == {"optim.lr": "0.1"}
    assert run_sweep(axes, [0], make, lambda r, f: result(None), tmp_path, metric="loss").best is None


def test_a_wrong_value_costs_no_run(tmp_path: Path) -> None:
    axes = parse_axes(["optim.lr=0.1,-1"])
    with pytest.raises(ConfigError, match="lr must be positive"):
        run_sweep(axes, [0], make, lambda r, f: pytest.fail("ran"), tmp_path, metric="top1")


def test_the_command_tests_the_best_setting_alone_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "sweep", write_volumes(tmp_path / "volumes.npz")
    fields = [word for key, value in CONTENT["fields"].items() for word in (f"--{key}", json.dumps(value))]
    argv = ["train", "adrenalmnist3d/vivit_ti_joint", "--data", str(data), "--out", str(out), "--device", "cpu"]
    argv += [*fields, "--sweep", "optim.lr=1e-3,1e30", "--json"]
    assert cli.main(argv) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metric"] == "auroc"
    assert content["best"] == {"optim.lr": "1e-3"}
    assert (content["num_runs"], content["num_diverged"]) == (2, 1)
    (tested,) = content["best_on_test"]
    assert (tested["split"], tested["num_videos"]) == ("test", 24)
    assert [p.parent.parent.parent.name for p in out.glob("*/*/evaluation/test")] == ["lr=1e-3"]
    results = {file: file.stat().st_mtime_ns for file in out.glob(f"*/*/{FILE}")}
    assert cli.main(argv) == 0  # goes on, and there is nothing left to do
    again = json.loads(capsys.readouterr().out)
    assert again["best_on_test"] == content["best_on_test"]
    assert {file: file.stat().st_mtime_ns for file in out.glob(f"*/*/{FILE}")} == results


def test_options_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "adrenalmnist3d/vivit_ti_joint", "--sweep", "optim.lr=1e-3", "--out", str(tmp_path / "x")]
    assert "leave --sweep out" in error_of([*argv, "--dry-run"], capsys)
    assert "expected FIELD=VALUE" in error_of([*argv, "--sweep", "optim.lr"], capsys)
    assert not (tmp_path / "x").exists()
