"""``tubelet train``: from a folder of videos to a run folder, once or over several seeds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml

from support import COUNTS, MODEL, TINY, TRAIN_TINY, content_of, error_of, rows_of
from tubelet import cli, load
from tubelet.recipe import load_recipe


def train(out: Path, *options: str) -> None:
    assert cli.main(["train", "--out", str(out), *TRAIN_TINY, *options]) == 0


@pytest.fixture(scope="session")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command as a user starts it, in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "first"
    options = [*TRAIN_TINY, "--training.num_epochs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tubelet", "train", "--data", str(videos), "--out", str(out), *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"checkpoint: {out / 'best'}" in done.stderr
    assert f"report:     {out / 'report.html'}" in done.stderr
    return out


def test_a_run_folder_holds_what_is_promised(run: Path) -> None:
    files = set(content_of(run))
    assert {
        *("recipe.yaml", "run.json", "log.csv", "validation.csv", "resume.pt", "report.html"),
        *(f"{name}/{file}" for name in ("best", "last") for file in ("model.safetensors", "tubelet.json")),
        *("evaluation/test/metrics.json", "evaluation/test/scores.csv"),
    } == {file for file in files if not file.startswith("tensorboard/")}
    assert any(file.startswith("tensorboard/") for file in files)
    assert [row["step"] for row in rows_of(run / "log.csv")] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows_of(run / "validation.csv")] == ["2", "4"]
    assert len(rows_of(run / "evaluation" / "test" / "scores.csv")) == COUNTS["test"]


def test_the_checkpoint_says_where_it_comes_from(run: Path, videos: Path) -> None:
    record = load(run / "best", "cpu").record
    assert record.protocol.labels["label"] == tuple(sorted(record.protocol.labels["label"]))
    assert record.model_config["embed_dim"] == TINY["embed_dim"]
    provenance = record.provenance
    assert provenance["recipe"] == yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    assert provenance["recipe"]["data"]["source"] == str(videos)
    assert provenance["recipe"]["seed"] == 0
    assert provenance["class_counts"]["train"] == dict.fromkeys(record.labels, 2)
    assert {"tubelet", "torch", "python"} <= set(provenance["versions"])
    assert re.fullmatch("[0-9a-f]{16}", provenance["data_fingerprint"])


def test_the_same_command_again_goes_on_with_the_run_and_changes_nothing(run: Path, videos: Path) -> None:
    names = ("log.csv", "validation.csv", "best/model.safetensors", "evaluation/test/scores.csv")
    before = {name: (run / name).read_bytes() for name in names}
    train(run, "--data", str(videos), "--training.num_epochs", "2")
    assert {name: (run / name).read_bytes() for name in names} == before


def test_resume_needs_the_run_folder_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content_of(run / "best")
    assert cli.main(["train", "--resume", str(run), "--device", "cpu"]) == 0
    assert content_of(run / "best") == before
    assert "test: top-1 " in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "clips"],
        ["--model", MODEL],
        ["--out", "elsewhere"],
        ["--seeds", "2"],
        ["--optim.lr", "1e-3"],
        ["--seed", "1"],
        ["folder/default"],
    ],
)
def test_resume_takes_no_other_option(run: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = content_of(run)
    said = error_of(["train", *options, "--resume", str(run)], capsys)
    expected = "--resume goes on with a run as its recipe says: give the run folder and nothing else"
    assert said == f"{expected}, or a higher --training.num_epochs"
    assert content_of(run) == before


def test_another_recipe_does_not_overwrite_a_run(run: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content_of(run)
    said = error_of(["train", "--data", str(videos), "--out", str(run), *TRAIN_TINY, "--optim.lr", "0.5"], capsys)
    assert said == f"{run}: holds a run of another recipe; give another --out, or --resume {run}"
    assert content_of(run) == before


def test_seeds_train_runs_of_their_own_and_print_mean_and_spread(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "runs", "--data", str(videos), "--seeds", "2", "--seed", "5")
    out = capsys.readouterr().out
    folders = [tmp_path / "runs" / f"seed{seed}" for seed in (5, 6)]
    assert [load_recipe(str(folder / "recipe.yaml")).seed for folder in folders] == [5, 6]
    weights = [(folder / "last" / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] != weights[1]
    metrics: list[dict[str, Any]] = [
        json.loads((folder / "evaluation" / "test" / "metrics.json").read_text(encoding="utf-8")) for folder in folders
    ]
    for name in ("top1", "mean_class", "auroc"):
        values = [m[name] for m in metrics]
        assert f"{mean(values):.3f} ± {stdev(values):.3f}" in out
    assert "2x1 views" in out
    assert re.search(r"always '\w+' gives 12\.5%", out)
    assert (tmp_path / "runs" / "report.html").is_file()


def test_folds_test_every_video_once_and_say_what_they_say_together(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "cv", "--data", str(videos), "--folds", "2", "--data.manifest.split_by", "files")
    out = capsys.readouterr().out
    scores = [rows_of(tmp_path / "cv" / f"fold{n}" / "evaluation" / "test" / "scores.csv") for n in (1, 2)]
    tested = [row["path"] for rows in scores for row in rows]
    assert len(tested) == len(set(tested)) == sum(COUNTS.values())
    found = json.loads((tmp_path / "cv" / "folds.json").read_text(encoding="utf-8"))
    shares = [mean(row["label"] == row["predicted"] for row in rows) for rows in scores]
    top1 = found["metrics"]["top1"]
    assert top1["folds"] == pytest.approx(shares)
    assert (top1["mean"], top1["sd"]) == pytest.approx((mean(shares), stdev(shares)))
    assert top1["pooled"] == pytest.approx(mean(row["label"] == row["predicted"] for rows in scores for row in rows))
    assert found["metrics"]["auroc"]["pooled"] is None
    assert found["baseline"].endswith(" gives 12.5%")
    assert f"{mean(shares):.3f} ± {stdev(shares):.3f}" in out
    assert "all folds" in out
    page = (tmp_path / "cv" / "report.html").read_text(encoding="utf-8")
    assert all(f"Split: fold {n} of 2 by files" in page for n in (1, 2))


def test_a_sweep_over_folds_chooses_over_all_of_them(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "sweep", "--data", str(videos), "--folds", "2", "--sweep", "optim.lr=0.001,0.01", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["num_folds"], found["num_runs"]) == (2, 4)
    assert [len(setting["scores"]) for setting in found["settings"]] == [2, 2]
    assert found["best_on_test_folds"]["num_videos"] == sum(COUNTS.values())
    assert {row["fold"] for row in rows_of(tmp_path / "sweep" / "sweep.csv")} == {"1", "2"}


def test_folds_and_seeds_exclude_each_other(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(["train", "--data", str(videos), "--folds", "3", "--seeds", "2"], capsys)
    assert "--folds and --seeds exclude each other" in line


def test_a_run_of_a_version_without_groups_goes_on_with_its_split(videos: Path, tmp_path: Path) -> None:
    """Such a version split by files, read no group column, and recorded no split."""
    clips = sorted(videos.rglob("*.mp4"))
    lines = [f"{clip},{clip.parent.name},g{number // 4}" for number, clip in enumerate(clips)]
    (tmp_path / "data.csv").write_text("\n".join(["path,label,group", *lines]), encoding="utf-8")
    options = ("--data", str(tmp_path / "data.csv"))
    train(tmp_path / "run", *options, "--data.manifest.split_by", "files")
    for name, old in (("run.json", "split"), ("recipe.yaml", "split_by")):
        file = tmp_path / "run" / name
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if old == "split":
            del content["split"]
        else:
            del content["data"]["manifest"]["split_by"]
        file.write_text(json.dumps(content), encoding="utf-8")
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--device", "cpu"]) == 0
    train(tmp_path / "new", *options)
    facts = [json.loads((tmp_path / run / "run.json").read_text(encoding="utf-8")) for run in ("run", "new")]
    assert facts[0]["data_fingerprint"] != facts[1]["data_fingerprint"]
    assert facts[1]["split"]["text"].startswith("val and test split off by groups by column 'group'")


def test_json_is_all_there_is_on_stdout(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run", "--data", str(videos), "--json")
    (result,) = json.loads(capsys.readouterr().out)
    assert result["run"] == str(tmp_path / "run")
    assert (result["split"], result["num_videos"], result["num_failed"]) == ("test", COUNTS["test"], 0)


def test_without_out_the_run_is_named_after_data_and_model(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--data", str(videos), *TRAIN_TINY]) == 0
    assert (tmp_path / "runs" / f"videos-{MODEL}" / "best" / "tubelet.json").is_file()


def test_a_data_set_without_test_videos_is_evaluated_on_what_was_validated(videos: Path, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for split in ("train", "val"):
        lines += [f"{split}/{name}/0000.mp4,{name},{split}" for name in ("left", "right")]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    train(tmp_path / "run", "--data", str(table), "--data.manifest.root", str(videos), "--training.batch_size", "2")
    assert (tmp_path / "run" / "evaluation" / "val" / "metrics.json").is_file()
    assert load(tmp_path / "run" / "best", "cpu").labels == ("left", "right")


def test_unreadable_videos_within_the_budget_are_named_and_trained_without(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    lines = [
        f"{videos}/{split}/{name}/0000.mp4,{name},{split}" for split in ("train", "val") for name in ("up", "down")
    ]
    table.write_text("\n".join(["path,label,split", *lines, f"{bad},up,train"]), encoding="utf-8")
    options = ["--data.failure_budget", "0.5", "--training.batch_size", "3"]
    train(tmp_path / "run", "--data", str(table), *options)
    err = capsys.readouterr().err
    assert sum("not used: " in line and str(bad) in line for line in err.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--optim.lrr", "1", "unknown key 'optim.lrr'; did you mean 'lr'?"),
        ("--optim.lr", "fast", "'optim.lr' must be float, got 'fast'"),
        ("--training.num_epochs", "2.5", "'training.num_epochs' must be int, got 2.5"),
        ("--protocol.crop_size", "16", "'protocol.crop_size' must be int, int, got 16"),
        ("--model.depht", "2", "did you mean 'depth'?"),
        ("--training.precision", "fp16", "'training.precision' must be one of fp32, bf16, got 'fp16'"),
        ("--optim.lr.x", "1", "'lr' is a value, not a group"),
    ],
)
def test_overrides_are_checked_like_a_recipe(
    videos: Path, tmp_path: Path, option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert message in error_of(
        ["train", "--data", str(videos), "--out", str(out), *TRAIN_TINY, f"{option}={value}"], capsys
    )
    assert not out.exists()


def test_an_override_without_a_value_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(["train", "--data", "x", "--optim.lr"], capsys) == "--optim.lr needs a value"


def test_fields_lists_every_field_of_a_recipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["train", "--fields"]) == 0
    out = capsys.readouterr().out
    for text in ("optim.lr", "protocol.num_frames", "frames of one clip", "training.num_epochs", "folder/default"):
        assert text in out


def test_nothing_to_train_on_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(["train"], capsys).startswith("nothing to train on: give --data FOLDER, or a recipe (")


def test_columns_of_other_names_are_named_by_options_and_rows_without_a_group_are_counted(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted(videos.rglob("*.mp4"))
    groups = ["", "", "", "", *(f"g{number // 4}" for number in range(4, len(clips)))]
    lines = [f"{clip},{clip.parent.name},{group}" for clip, group in zip(clips, groups, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["video,motion,group", *lines]), encoding="utf-8")
    words = ["--data", str(tmp_path / "data.csv"), "--path-column", "video", "--label-column", "motion", "--dry-run"]
    assert cli.main(["train", *words, *TRAIN_TINY, "--out", str(tmp_path / "run")]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"4 of {len(clips)} rows have no group by column 'group'" in said
