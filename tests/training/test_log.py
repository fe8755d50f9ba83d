"""The log of a run can be read, by people as a table and by TensorBoard, and holds no step twice after a resume."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.tasks.single_label import SingleLabel
from tubelet.training.log.run_log import RunLog, step_columns, validation_columns

STEP_COLUMNS, VALIDATION_COLUMNS = step_columns(SingleLabel), validation_columns(SingleLabel)


def step_row(step: int, loss: float = 0.5) -> dict[str, Any]:
    values = {"epoch": step // 5, "lr": 1e-3, "loss": loss, "top1": 0.25, "grad_norm": 2.0, "num_failed": 3}
    return {"step": step, **values, "wait_share": 0.1, "seconds": 1.5 * step}


def validation_row(step: int, auroc: float | None = 0.75) -> dict[str, Any]:
    return {**dict.fromkeys(VALIDATION_COLUMNS, 0.5), "step": step, "epoch": 0, "auroc": auroc}


def write(
    folder: Path, resume_step: int, steps: Iterable[int], validated: Iterable[int] = (), loss: float = 0.5
) -> None:
    with RunLog(folder, SingleLabel, resume_step) as log:
        for step in steps:
            log.step(step_row(step, loss))
        for step in validated:
            log.validation(validation_row(step))


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / table).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


def test_rows_have_the_columns_that_are_promised(tmp_path: Path) -> None:
    write(tmp_path, 0, [1, 2], [2])
    rows = rows_of(tmp_path, "log.csv")
    assert tuple(rows[0]) == STEP_COLUMNS
    assert {name: float(value) for name, value in rows[1].items()} == step_row(2)
    assert tuple(rows_of(tmp_path, "validation.csv")[0]) == VALIDATION_COLUMNS


def test_a_metric_that_is_undefined_is_empty_in_the_table_and_absent_on_the_board(tmp_path: Path) -> None:
    with RunLog(tmp_path, SingleLabel, 0) as log:
        log.validation(validation_row(1, auroc=None))
    assert rows_of(tmp_path, "validation.csv")[0]["auroc"] == ""
    assert "validation/auroc" not in scalars(tmp_path)
    assert scalars(tmp_path)["validation/top1"] == [(1, 0.5)]


def test_tensorboard_reads_every_scalar_of_every_step(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1, 6), [5])
    found = scalars(tmp_path)
    names = {f"train/{name}" for name in STEP_COLUMNS} | {f"validation/{name}" for name in VALIDATION_COLUMNS}
    assert set(found) == {name for name in names if not name.endswith(("/step", "/epoch"))}
    assert found["train/seconds"] == [(step, 1.5 * step) for step in range(1, 6)]


def test_a_resumed_log_drops_what_came_after_the_checkpoint_and_holds_no_step_twice(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1, 9), [4, 8])
    write(tmp_path, 5, range(6, 11), [8, 10], loss=0.25)
    assert [int(row["step"]) for row in rows_of(tmp_path, "log.csv")] == list(range(1, 11))
    assert [row["loss"] for row in rows_of(tmp_path, "log.csv")] == ["0.5"] * 5 + ["0.25"] * 5
    assert [int(row["step"]) for row in rows_of(tmp_path, "validation.csv")] == [4, 8, 10]
    assert scalars(tmp_path)["train/loss"] == [(s, 0.5) for s in range(1, 6)] + [(s, 0.25) for s in range(6, 11)]
    assert [step for step, _ in scalars(tmp_path)["validation/top1"]] == [4, 8, 10]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_half_written_when_the_run_was_killed_is_dropped(tmp_path: Path, cut: int) -> None:
    write(tmp_path, 0, range(1, 5))
    content = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv").write_bytes(content[:-cut])
    write(tmp_path, 3, [4])
    assert (tmp_path / "log.csv").read_bytes() == content


def test_a_run_that_starts_anew_starts_its_tables_anew(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1, 5), [4])
    write(tmp_path, 0, [1], loss=0.25)
    assert [row["loss"] for row in rows_of(tmp_path, "log.csv")] == ["0.25"]
    assert rows_of(tmp_path, "validation.csv") == []


def test_a_run_that_is_finished_is_not_written_to_again(tmp_path: Path, recipe_file: Path) -> None:
    """Naming it once more only evaluates it."""
    recipe = load_recipe(str(recipe_file), [("training.num_epochs", "1")])
    for _ in range(2):
        run_recipe(recipe, tmp_path / "run", Session())
        assert [int(row["step"]) for row in rows_of(tmp_path / "run", "log.csv")] == list(range(1, 10))
        assert [step for step, _ in scalars(tmp_path / "run")["train/loss"]] == list(range(1, 10))


def test_a_validation_that_is_still_due_is_dropped_and_the_training_of_its_step_is_not(tmp_path: Path) -> None:
    """A run killed after it wrote the row of a validation, and before the state that says that it is done."""
    write(tmp_path, 0, range(1, 9), [4, 8])
    with RunLog(tmp_path, SingleLabel, 8, closed_step=4) as log:
        log.validation(validation_row(8))
    assert [int(row["step"]) for row in rows_of(tmp_path, "log.csv")] == list(range(1, 9))
    assert [int(row["step"]) for row in rows_of(tmp_path, "validation.csv")] == [4, 8]
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == list(range(1, 9))
    assert [step for step, _ in scalars(tmp_path)["validation/top1"]] == [4, 8]
