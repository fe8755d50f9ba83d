"""A metric is added in one place, the tuple of its task, and is then found wherever numbers show."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from in_this_process import carried_out
from small_runs import Small, scripted, train_small, write_volumes
from support import TRAIN_TINY, rows_of
from tiny_comparison import CONTENT, load, made_up_costs
from tiny_comparison import write_volumes as write_medmnist
from tubelet import cli
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe, load_recipe
from tubelet.report.comparison_report import write_comparison_report
from tubelet.report.run_report import write_run_report
from tubelet.runs.result import RunResult
from tubelet.studies.results import gather
from tubelet.studies.sweep import parse_axes, run_sweep
from tubelet.tasks.class_scores import ClassScores
from tubelet.tasks.metric import Metric
from tubelet.tasks.single_label import SingleLabel
from tubelet.training.config import TrainingConfig


def brier(scores: ClassScores) -> float:
    """Squared distance of the probabilities from the truth (Brier 1950)."""
    truth = torch.nn.functional.one_hot(scores.labels, len(scores.names))
    return float((scores.probs - truth).square().sum(dim=1).mean())


BRIER = Metric(key="brier", title="Brier score", is_lower_better=True, compute=brier)


@pytest.fixture(autouse=True)
def _with_brier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SingleLabel, "metrics", (*SingleLabel.metrics, BRIER))


def by_hand(scores: Path, classes: tuple[str, ...]) -> float:
    """The metric from scores.csv."""
    found = []
    for row in rows_of(scores):
        probs = np.array([float(row[name]) for name in classes])
        found.append(((probs - np.array([name == row["label"] for name in classes])) ** 2).sum())
    return float(np.mean(found))


def test_it_shows_in_every_place_of_a_run(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "--data", str(videos), *TRAIN_TINY, "--out", str(run)]) == 0
    console = capsys.readouterr().err

    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
    value, classes = metrics["brier"], tuple(metrics["labels"])
    assert value == pytest.approx(by_hand(run / "evaluation" / "test" / "scores.csv", classes), abs=1e-5)
    validated = float(rows_of(run / "validation.csv")[-1]["brier"])
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert board.Scalars("validation/brier")[-1].value == pytest.approx(validated)
    lines = [line for line in console.splitlines() if "Brier score" in line]
    assert f"Brier score {validated:.3f}" in lines[0]  # of the validation
    assert f"Brier score {value:.3f}" in lines[-1]  # of the test

    page = write_run_report(tmp_path / "report.html", [run], title="A run", command="tubelet report").read_text()
    assert f"<dt>Brier score</dt>\n      <dd>{value:.3f}</dd>" in page
    assert "<h3>Brier score</h3>" in page  # its curve
    card = tmp_path / "card"
    assert cli.main(["push", str(run), "me/motions", "--dry-run", str(card)]) == 0
    assert f"| Brier score | {value:.3f} |" in (card / "README.md").read_text()

    two = ["train", "--data", str(videos), *TRAIN_TINY, "--out", str(tmp_path / "two"), "--seeds", "2"]
    assert cli.main(two) == 0
    assert "Brier score" in capsys.readouterr().out


def test_a_sweep_writes_it_down_and_takes_the_lowest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_medmnist(tmp_path / "volumes.npz"), tmp_path / "sweep"
    fields = [word for key, value in CONTENT["fields"].items() for word in (f"--{key}", json.dumps(value))]
    argv = ["train", "adrenalmnist3d/vivit_ti_joint", "--data", str(data), "--out", str(out), "--device", "cpu"]
    argv += [*fields, "--training.best_metric", "brier", "--sweep", "optim.lr=1e-5,3e-3", "--json"]
    assert cli.main(argv) == 0
    content = json.loads(capsys.readouterr().out)
    means = {setting["values"]["optim.lr"]: setting["mean"] for setting in content["settings"]}
    assert content["metric"] == "brier"
    assert content["best"] == {"optim.lr": min(means, key=means.__getitem__)}
    assert {row["optim.lr"]: float(row["brier"]) for row in rows_of(out / "sweep.csv")} == means


def test_a_comparison_shows_it_beside_what_it_judges(tmp_path: Path) -> None:
    comparison = load(tmp_path)
    executed, _, _ = carried_out(comparison, tmp_path / "out")
    result = gather(comparison, executed, made_up_costs(comparison))
    page = write_comparison_report(tmp_path / "out", result, comparison, command="tubelet compare").read_text()
    assert '<th scope="col">test brier</th>' in page
    assert "test brier" in (tmp_path / "out" / "report.md").read_text()
    for run in (run for protocol in result.protocols for arm in protocol.arms for run in arm.runs):
        scores = tmp_path / "out" / run.folder / "evaluation" / "test" / "scores.csv"
        assert run.test["brier"] == pytest.approx(by_hand(scores, result.classes["volumes"]), abs=1e-5)


# Lower is better


def test_the_lowest_value_makes_the_best_checkpoint_and_early_stopping_waits_for_a_lower_one(tmp_path: Path) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    values = [0.9, 0.4, 0.6, 0.5, 0.1]
    progress = train_small(
        root,
        run,
        Small(),
        num_epochs=5,
        best_metric="brier",
        early_stopping_epochs=2,
        validate=scripted(values, metric="brier"),
    )
    assert (progress.best, progress.best_step, progress.step) == (0.4, 6, 12)
    assert [float(row["brier"]) for row in rows_of(run / "validation.csv")] == values[:4]


def test_a_sweep_takes_the_lowest_mean(tmp_path: Path) -> None:
    def make(values: tuple[tuple[str, str], ...], seed: int) -> Recipe:
        return load_recipe("adrenalmnist3d/vivit_ti_joint", [*values, ("seed", str(seed))])

    def carry_out(recipe: Recipe, folder: Path) -> RunResult:
        metrics = {"brier": recipe.optim.lr, "top1": recipe.optim.lr}
        return RunResult(key="k", diverged=None, metrics=metrics, num_steps=1, train_seconds=1.0)

    axes = parse_axes(["optim.lr=0.1,0.01"])
    best = {metric: run_sweep(axes, [0], make, carry_out, tmp_path, metric=metric).best for metric in ("brier", "top1")}
    assert {metric: setting and setting.values[0][1] for metric, setting in best.items()} == {
        "brier": "0.01",
        "top1": "0.1",
    }


@pytest.mark.soak
def test_a_comparison_tunes_for_the_lowest_and_calls_the_lower_arm_better(tmp_path: Path) -> None:
    comparison = load(tmp_path, metric="brier", one_setting=None, levels=[0.6])
    executed, _, _ = carried_out(comparison, tmp_path / "out")
    (of_dataset,) = executed.choices.values()
    for arm, choice in of_dataset.items():
        reached = {}
        for file in tmp_path.glob(f"out/runs/volumes/{arm}/*-seed1000-*/outcome.json"):
            outcome = json.loads(file.read_text())
            if outcome["diverged"] is None:
                reached[file.parent.name.partition("-seed")[0]] = outcome["metrics"]["brier"]
        assert f"lr={choice.setting[0][1]:g}" == min(reached, key=reached.__getitem__)
    result = gather(comparison, executed, made_up_costs(comparison))
    (protocol,) = result.protocols
    (found,) = protocol.contrasts
    first, second = (next(arm for arm in protocol.arms if arm.arm == name) for name in (found.first, found.second))
    assert found.difference.mean == pytest.approx(second.test["brier"].mean - first.test["brier"].mean)
    assert found.item_low is not None
    assert "test brier (lower is better" in protocol.sentences[0]
    for arm in protocol.arms:
        for run, steps in zip(arm.runs, arm.steps_to["0.6"], strict=True):
            reached_at = [s for s, v in zip(run.curve["step"], run.curve["brier"], strict=True) if v <= 0.6]
            assert steps == (int(reached_at[0]) if reached_at else None)
    write_comparison_report(tmp_path / "out", result, comparison, command="tubelet compare")


# What knows of it only through the task


def test_a_metric_that_no_task_has_is_refused_by_name() -> None:
    assert TrainingConfig(best_metric="brier").best_metric == "brier"
    with pytest.raises(ConfigError, match=r"best_metric must be one of auto, .*brier.*, got bier.*brier"):
        TrainingConfig(best_metric="bier")


def test_runs_of_earlier_versions_without_it_are_still_reported(tmp_path: Path, videos: Path) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "--data", str(videos), *TRAIN_TINY, "--out", str(run)]) == 0
    file = run / "evaluation" / "test" / "metrics.json"
    metrics: dict[str, Any] = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in metrics.items() if key != "brier"}))
    with (run / "validation.csv").open(newline="") as stream:
        rows = [row[:-1] for row in csv.reader(stream)]
    (run / "validation.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    page = write_run_report(tmp_path / "report.html", [run], title="A run", command="tubelet report").read_text()
    assert "<dt>Brier score</dt>\n      <dd>–</dd>" in page


def test_it_can_be_kept_from_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = dataclasses.replace(BRIER, shows={place: how for place, how in BRIER.shows.items() if place != "card"})
    monkeypatch.setattr(SingleLabel, "metrics", (*SingleLabel.metrics[:-1], quiet))
    assert BRIER.key not in [metric.key for metric in SingleLabel.columns("card")]
    assert BRIER.key in [metric.key for metric in SingleLabel.columns("report")]
