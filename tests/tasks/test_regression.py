"""Numbers per video: their texts, tables and scales, what training minimizes, and what metrics say of them."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tubelet
from support import rows_of
from tiny_recipe import RECIPE
from tubelet.cli import main
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import CheckpointError, ConfigError, DataError
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.completed import CompletedRun
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of_metrics
from tubelet.tasks.regression import Regression
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.open_checkpoint import open_checkpoint

NUMBERS = ManifestConfig(numbers=True, label_columns=("light", "grams"))


def write_set(root: Path, cells: dict[int, tuple[str, str]] | None = None, count: int = 48) -> Path:
    """Volumes of even gray, whose level is ``light``, and the file of their numbers; ``grams`` is 3 times as much."""
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        light = rng.uniform(0.1, 0.9)
        noise = rng.integers(0, 20, (8, 18, 18))
        np.save(root / f"{number:02d}.npy", (light * 220 + noise).astype(np.uint8))
        light_text, grams = (cells or {}).get(number, (f"{light:.4f}", f"{300 * light:.2f}"))
        rows.append([f"{number:02d}.npy", light_text, grams, ("train", "train", "val", "test")[number % 4]])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", "light", "grams", "split"], *rows])
    return root / "labels.csv"


def number_recipe(labels: Path, **fields: Any) -> Recipe:
    chosen = {
        "data.source": str(labels),
        "data.num_workers": 0,
        "data.manifest.numbers": True,
        "data.manifest.label_columns": ["light", "grams"],
        **{key: value for key, value in RECIPE.items() if key not in ("augment", "training")},
        "training": {"num_epochs": 25, "batch_size": 8, "accumulation": 2, "validate_every_epochs": 5},
        **fields,
    }
    return load_recipe("folder/default", [(name, json.dumps(value)) for name, value in chosen.items()])


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("numbers"), {3: ("0.5", "")})


@pytest.fixture(scope="module")
def run(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> CompletedRun:
    return run_recipe(number_recipe(labels), tmp_path_factory.mktemp("number_run") / "run", Session())


def test_a_model_learns_numbers_far_better_than_their_mean(run: CompletedRun) -> None:
    metrics = run.evaluation.metrics
    assert metrics["labels"] == ["light", "grams"]
    assert metrics["r2"] > 0.75
    assert metrics["relative_error"] < 0.35
    assert metrics["mean_predictor_r2"] <= 0
    grams = metrics["numbers"]["grams"]
    assert grams["num_videos"] == metrics["num_videos"] - 1  # one is not known
    assert grams["mae"] < 0.5 * grams["mean_predictor_mae"]
    assert grams["mae"] > 1  # in its own unit
    log = rows_of(run.folder / "log.csv")
    assert float(log[0]["loss"]) > float(log[-1]["loss"])
    assert "scaled_error" in log[0]
    assert float(rows_of(run.folder / "validation.csv")[-1]["r2"]) > 0.5
    assert "R² " in run.evaluation.summary
    assert task_of_metrics(json.loads((run.folder / "evaluation/test/metrics.json").read_text())) is Regression


def test_evaluating_and_predicting_give_the_numbers_of_training_in_their_units(run: CompletedRun, labels: Path) -> None:
    again = tubelet.evaluate(run.folder / "best", labels, device="cpu", progress=False, num_workers=0)
    for name, values in run.evaluation.metrics["numbers"].items():
        assert again.metrics["numbers"][name] == pytest.approx(values)
    (first, *_) = rows_of(run.folder / "evaluation/test/scores.csv")
    found = tubelet.load(run.folder / "best", "cpu").predict(labels.parent / first["path"])
    assert found.kind == "value"
    assert found.labels == ("light", "grams")
    assert found.probs == pytest.approx((float(first["light_predicted"]), float(first["grams_predicted"])), rel=1e-3)
    assert (first["light"], first["grams"]) == ("0.5", "")


def test_the_command_prints_numbers_and_refuses_what_is_of_classes(
    run: CompletedRun, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, best = str(labels.parent / "03.npy"), str(run.folder / "best")
    assert main(["predict", best, clip, "--csv", "-", "--device", "cpu", "--num-workers", "0"]) == 0
    header, light, grams = capsys.readouterr().out.strip().splitlines()
    assert header.split(",")[1:4] == ["rank", "label", "value"]
    assert light.split(",")[2] == "light"
    assert 30 < float(grams.split(",")[3]) < 300
    assert main(["predict", best, clip, "--window", "whole", "--device", "cpu"]) == 1
    assert "gives numbers (light, grams)" in capsys.readouterr().err


def test_the_report_shows_the_numbers_with_the_mean_beside_them(run: CompletedRun, tmp_path: Path) -> None:
    from tubelet.report.run_report import write_run_report

    page = write_run_report(tmp_path / "report.html", [run.folder], title="numbers", command="x").read_text()
    for word in ("R²", "R² of the mean", "Mean absolute error per class", "grams", "error over that of the mean"):
        assert word in page


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({5: ("much", "1")}, r"05\.npy: light: 'much' is no number"),
        ({6: ("0.5", "1,25")}, r"06\.npy: grams: '1,25' is no number; write decimals with a point"),
        ({7: ("inf", "1")}, r"07\.npy: light: 'inf' is not finite"),
    ],
)
def test_bad_numbers_are_refused_with_their_row(cells: dict[int, tuple[str, str]], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read_manifest(write_set(tmp_path, cells, count=8), NUMBERS)


def test_numbers_written_in_several_ways_are_one_and_splits_need_no_classes(tmp_path: Path) -> None:
    labels = write_set(tmp_path, {0: ("0.50", "2"), 1: ("5e-1", "2.0")})
    text = labels.read_text().splitlines()
    labels.write_text("\n".join(line.rpartition(",")[0] for line in text) + "\n")  # without splits
    manifest = read_manifest(labels, NUMBERS)
    assert manifest.class_names["light"].count("0.5") == 1
    assert manifest.samples[0].labels == manifest.samples[1].labels
    assert {name: len(manifest.split(name)) for name in manifest.splits} == {"train": 34, "val": 7, "test": 7}
    assert not any("class" in note for note in manifest.notes)


def manifest_of(values: list[float | None]) -> Manifest:
    known = sorted({value for value in values if value is not None})
    samples = [
        Sample(path=f"{i}.mp4", labels=(-1 if value is None else known.index(value),), split="train")
        for i, value in enumerate(values)
    ]
    tables = {"x": tuple(map(repr, known))}
    return Manifest(root=Path(), samples=samples, class_names=tables, layout="csv", is_numeric=True)


def test_metrics_are_those_of_their_definitions() -> None:
    train = manifest_of([0.0, 10.0])
    task = Regression.of_data(train)
    assert task.scales == ((5.0, 5.0),)
    data = manifest_of([2.0, 4.0, 6.0, None])
    task = Regression.of_data(data, task.scales)
    targets = task.targets([sample.labels for sample in data.samples])
    values = task.measure(torch.tensor([[3.0], [4.0], [8.0], [99.0]]), targets)
    assert values["mae"] == pytest.approx(1.0)
    assert values["mean_predictor_mae"] == pytest.approx((3 + 1 + 1) / 3)
    assert values["relative_error"] == pytest.approx(0.6)
    assert values["r2"] == pytest.approx(1 - 5 / 8)
    assert values["mean_predictor_r2"] == pytest.approx(1 - 11 / 8)
    assert values["loss"] == pytest.approx(5 / 3 / 25)
    assert values["numbers"]["x"]["num_videos"] == 3
    with pytest.raises(DataError, match="without any"):
        task.measure(torch.zeros(1, 1), torch.tensor([[-1]]))


def test_the_loss_is_of_known_numbers_in_standard_deviations_however_a_batch_is_cut() -> None:
    train = manifest_of([0.0, 10.0, None])
    task = Regression.of_data(train)
    targets = task.targets([sample.labels for sample in train.samples])
    objective, logits = task.objective(train), torch.tensor([[0.0], [1.0], [7.0]], requires_grad=True)
    weight = torch.ones(3)
    shares = objective.shares(targets, weight)
    loss, error = objective(logits, targets, shares)
    assert float(loss.detach()) == pytest.approx(0.5)  # (0 - -1)^2 and (1 - 1)^2, and nothing of the third
    assert float(error) == pytest.approx(0.5)
    parts = [objective(logits[i : i + 1], targets[i : i + 1], shares[i : i + 1])[0] for i in range(3)]
    assert float(sum(parts).detach()) == pytest.approx(float(loss.detach()))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[2] == 0
    assert torch.allclose(task.logits_of(task.probs(logits.detach())), logits.detach())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"training.label_smoothing": 0.1}, "label_smoothing: is of classes"),
        ({"data.manifest.class_names": {"light": ["a", "b"]}}, "class_names: has no meaning for numbers"),
        ({"protocol.number_scales": [[0.0, 1.0]]}, "number_scales comes from the data"),
    ],
)
def test_what_is_of_classes_is_refused(fields: dict[str, Any], says: str, labels: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        number_recipe(labels, **fields)


def test_numbers_that_are_all_alike_are_not_divided_by_what_rounding_leaves() -> None:
    train = manifest_of([0.1, 0.1, 0.1])  # whose rounded mean is not 0.1
    task = Regression.of_data(train)
    assert task.scales == ((0.1, 1.0),)
    values = task.measure(
        torch.tensor([[0.1], [0.1], [0.2]]), task.targets([sample.labels for sample in train.samples])
    )
    assert values["r2"] is None
    assert values["mean_predictor_r2"] is None
    assert values["relative_error"] is None


def test_data_that_know_nothing_of_one_number_are_measured_by_the_other() -> None:
    task = Regression(
        labels={"x": ("x",), "y": ("y",)}, scales=((0.0, 1.0), (0.0, 1.0)), tables={"x": ("1.0", "2.0"), "y": ()}
    )
    values = task.measure(torch.tensor([[1.0, 5.0], [2.0, 5.0]]), task.targets([(0, -1), (1, -1)]))
    assert values["mae"] == 0
    assert values["numbers"]["y"]["num_videos"] == 0
    assert values["numbers"]["y"]["mae"] is None


def test_clips_for_other_loops_have_the_numbers_and_not_their_places(labels: Path) -> None:
    clips = tubelet.ClipDataset(labels, number_recipe(labels).protocol, split="test", manifest=NUMBERS)
    light, grams = clips[0]["labels"].tolist()
    assert light == pytest.approx(0.5)
    assert np.isnan(grams)


def test_numbers_are_not_explained_as_if_they_were_classes(run: CompletedRun, labels: Path) -> None:
    classifier = tubelet.load(run.folder / "best", "cpu")
    with pytest.raises(ConfigError, match=r"explanations are of classes only, .* gives numbers"):
        classifier.explain(labels.parent / "03.npy", head="light")


def test_one_number_is_not_written_as_a_classifier_of_one_class(run: CompletedRun, tmp_path: Path) -> None:
    model, record = open_checkpoint(run.folder / "best")
    protocol = dataclasses.replace(record.protocol, labels={"x": ("x",)}, number_scales=((0.0, 1.0),))
    with pytest.raises(CheckpointError, match="gives numbers"):
        write_huggingface(model, dataclasses.replace(record, protocol=protocol), tmp_path / "out")
