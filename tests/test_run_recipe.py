"""A run measures itself by the path that users measure with, and leaves a folder only where it can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import tubelet
from support import MODEL, TINY, Notes, content_of, motion_videos, rows_of
from tubelet import cli
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import STORE_NAME
from tubelet.errors import TubeletError
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.folder import resume_recipe
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.session import Session
from tubelet.training.state.resume import FILE as STATE


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


@pytest.fixture
def recipe_file(videos: Path, tmp_path: Path) -> Path:
    groups: dict[str, Any] = {
        "model": {"name": MODEL, **TINY},
        "data": {"source": str(videos), "num_workers": 0},
        "protocol": {
            "num_frames": 4,
            "frame_stride": 2,
            "resize_short_side": 20,
            "crop_size": [16, 16],
            "num_temporal_views": 2,
        },
        "optim": {"lr": 0.01, "warmup_epochs": 0.0},
        "training": {"num_epochs": 2, "batch_size": 8},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(groups), encoding="utf-8")
    return file


def recipe(file: Path, **overrides: str) -> Recipe:
    return load_recipe(str(file), [(name.replace("__", "."), text) for name, text in overrides.items()])


def run(recipe: Recipe, folder: Path, notes: Notes | None = None) -> CompletedRun:
    return run_recipe(recipe, folder, Session(progress=notes or Notes()))


def evaluated(checkpoint: Path, data: Path, out: Path, *options: str) -> Path:
    argv = ["evaluate", str(checkpoint), "--data", str(data), "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*argv, "--out", str(out), *options]) == 0
    return out


def test_a_run_indexes_its_videos_once(
    recipe_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (videos / STORE_NAME).unlink(missing_ok=True)
    run(recipe(recipe_file, training__num_epochs="1"), tmp_path / "first")  # in a process of its own
    before = (videos / STORE_NAME).stat().st_mtime_ns
    monkeypatch.setattr(PacketIndex, "of", lambda path: pytest.fail(f"{path} was indexed again"))
    run(recipe(recipe_file, training__num_epochs="1"), tmp_path / "second")
    evaluated(tmp_path / "second" / "best", videos, tmp_path / "again")
    assert (videos / STORE_NAME).stat().st_mtime_ns == before


def test_a_run_goes_on_where_no_index_can_be_kept(recipe_file: Path, tmp_path: Path) -> None:
    data, notes = motion_videos(tmp_path / "videos"), Notes()
    (data / STORE_NAME).mkdir()
    run(recipe(recipe_file, training__num_epochs="1", data__source=str(data)), tmp_path / "run", notes)
    assert ["indexes them for itself" in note for note in notes.notes].count(True) == 1


def test_augmenting_on_the_device_trains_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    augment = {"augment__hue": "0.3", "augment__mix__mixup": "0.8", "training__num_epochs": "1"}
    weights = []
    for place in ("readers", "device", "auto"):  # on a CPU, auto leaves it to the readers
        run(recipe(recipe_file, **augment, data__augment_on=place), tmp_path / place)
        weights.append(load_file(tmp_path / place / "last" / "model.safetensors"))
    run(recipe(recipe_file, training__num_epochs="1"), tmp_path / "plain")
    plain = load_file(tmp_path / "plain" / "last" / "model.safetensors")
    for name, value in weights[0].items():
        assert all(torch.equal(other[name], value) for other in weights[1:]), name
    assert not all(torch.equal(plain[name], value) for name, value in weights[0].items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_reports_what_evaluate_reports_of_its_checkpoint(
    recipe_file: Path, videos: Path, tmp_path: Path, precision: str
) -> None:
    result = run(recipe(recipe_file, training__precision=precision), tmp_path / "run")
    own = content_of(tmp_path / "run" / "evaluation" / "test")
    again = evaluated(tmp_path / "run" / "best", videos, tmp_path / "again")
    mine, others = (json.loads(text["metrics.json"]) for text in (own, content_of(again)))
    for key, value in mine.items():
        assert others[key] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), key
    rows = [rows_of(folder / "scores.csv") for folder in (tmp_path / "run" / "evaluation" / "test", again)]
    for row, other in zip(*rows, strict=True):
        assert {key: row[key] for key in ("path", "label", "predicted")} == {
            key: other[key] for key in ("path", "label", "predicted")
        }
        assert float(row["growing"]) == pytest.approx(float(other["growing"]), abs=1e-6)
    assert result.evaluation.metrics["top1"] == mine["top1"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_is_an_evaluation_of_the_last_weights_with_one_view(
    recipe_file: Path, videos: Path, tmp_path: Path, precision: str
) -> None:
    run(recipe(recipe_file, training__precision=precision), tmp_path / "run")
    last = rows_of(tmp_path / "run" / "validation.csv")[-1]
    out = evaluated(tmp_path / "run" / "last", videos, tmp_path / "val", "--split", "val", "--views", "1x1")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    for name in ("loss", "top1", "top5", "mean_class", "auroc", "calibration_error"):
        assert float(last[name]) == pytest.approx(metrics[name], abs=1e-5)


def test_a_checkpoint_computes_in_the_precision_of_its_run_unless_another_is_asked_for(
    recipe_file: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(recipe(recipe_file, training__precision="bf16", training__num_epochs="1"), tmp_path / "run")
    best, said, probs = tmp_path / "run" / "best", {}, {}
    for asked in (None, "bf16", "fp32"):
        out, options = tmp_path / f"as-{asked}", () if asked is None else ("--precision", asked)
        evaluated(best, videos, out, *options)
        said[asked] = capsys.readouterr().out
        probs[asked] = [row["growing"] for row in rows_of(out / "scores.csv")]
        assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["precision"] == (asked or "bf16")
    assert ", bf16, 0 failed" in said[None]
    assert ", fp32, 0 failed" in said["fp32"]
    assert probs[None] == probs["bf16"] != probs["fp32"]
    clip = next((videos / "test" / "up").iterdir())
    own, asked_for = (tubelet.load(best, "cpu", precision=precision).predict(clip) for precision in (None, "fp32"))
    assert dict(zip(own.labels, own.probs, strict=True)) != dict(zip(asked_for.labels, asked_for.probs, strict=True))
    record = json.loads((best / "tubelet.json").read_text(encoding="utf-8"))
    del record["precision"]  # as an earlier version wrote it
    (best / "tubelet.json").write_text(json.dumps(record), encoding="utf-8")
    assert tubelet.load(best, "cpu").predict(clip) == asked_for


def test_the_same_recipe_gives_the_same_weights_and_another_seed_gives_others(
    recipe_file: Path, tmp_path: Path
) -> None:
    weights = []
    for name, seed in (("one", "3"), ("two", "3"), ("three", "4")):
        run(recipe(recipe_file, seed=seed), tmp_path / name)
        weights.append(load_file(tmp_path / name / "last" / "model.safetensors"))
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())
    assert not all(tensor.equal(weights[2][name]) for name, tensor in weights[0].items())


def test_the_saved_recipe_is_the_recipe_and_runs_again_as_it_is(recipe_file: Path, tmp_path: Path) -> None:
    first = recipe(recipe_file, model__tubelet_size="4,8,8")
    run(first, tmp_path / "run")
    assert resume_recipe(tmp_path / "run") == first
    run(load_recipe(str(tmp_path / "run" / "recipe.yaml")), tmp_path / "again")
    one, other = (load_file(tmp_path / name / "best" / "model.safetensors") for name in ("run", "again"))
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


# The first step makes weights whose loss is not finite in the second.
WILD = {"optim__lr": "1e30", "optim__clip_grad_norm": "none", "optim__name": "sgd"}


def test_an_error_before_the_first_state_leaves_no_folder(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(TubeletError, match="are not finite"):
        run(recipe(recipe_file, **WILD), tmp_path / "runs" / "deep" / "wild")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_removed_takes_no_other_run_with_it(recipe_file: Path, videos: Path, tmp_path: Path) -> None:
    class BeginsAnother(Notes):
        """Another run begins beside this one, in the folder that this one made."""

        def note(self, text: str) -> None:
            if (tmp_path / "runs" / "wild").exists():
                (tmp_path / "runs" / "other").mkdir(exist_ok=True)

    fractions = {"data__manifest__val_fraction": "0", "data__manifest__test_fraction": "0"}
    wild = recipe(recipe_file, data__source=str(videos / "train"), **fractions, **WILD)
    with pytest.raises(TubeletError, match="are not finite"):
        run(wild, tmp_path / "runs" / "wild", BeginsAnother())
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


def test_an_error_after_a_state_keeps_the_folder_which_resumes_to_the_same_error(
    recipe_file: Path, tmp_path: Path
) -> None:
    wild = recipe(recipe_file, training__checkpoint_every_steps="1", **WILD)
    for _ in range(2):
        with pytest.raises(TubeletError, match="at step 2") as stopped:
            run(wild, tmp_path / "run")
        assert "the last checkpoint is untouched" in str(stopped.value)
        assert (tmp_path / "run" / STATE).is_file()
        assert not (tmp_path / "run" / "best").exists()
        assert [row["step"] for row in rows_of(tmp_path / "run" / "log.csv")] == ["1"]


def test_a_run_killed_before_its_first_state_starts_anew(recipe_file: Path, tmp_path: Path) -> None:
    class Killed(Notes):
        def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(recipe_file), tmp_path / "run", Killed())
    assert not (tmp_path / "run" / STATE).exists()
    run(recipe(recipe_file), tmp_path / "run")
    assert [row["step"] for row in rows_of(tmp_path / "run" / "log.csv")] == ["1", "2", "3", "4"]
