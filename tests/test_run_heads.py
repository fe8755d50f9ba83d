"""Several heads, and several labels per video, from the data set on disk to train, evaluate, predict and report."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support import TRAIN_TINY, motion_videos, rows_of, write_csv
from tubelet import cli
from tubelet.inference.predictor import load

# What a motion is about, and which way: two heads over the eight motions.
ACTIONS = {
    "left": ("side", "minus"),
    "right": ("side", "plus"),
    "up": ("height", "minus"),
    "down": ("height", "plus"),
    "clockwise": ("angle", "plus"),
    "counter_clockwise": ("angle", "minus"),
    "growing": ("size", "plus"),
    "shrinking": ("size", "minus"),
}
HEADS = {"noun": ["side", "height", "angle", "size"], "verb": ["minus", "plus"]}
HEADER = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class"


def epic_kitchens(videos: Path, root: Path) -> Path:
    """The motion videos in the official layout of EPIC-KITCHENS-100: two actions in each video."""
    for split, file in (("train", "train"), ("val", "validation")):
        lines, participant = [], "P01" if split == "train" else "P02"
        for number, video in enumerate(sorted(videos.glob(f"{split}/*/*.mp4"))):
            name = f"{participant}_{number:02d}"
            copy = root / participant / "videos" / f"{name}.MP4"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, copy)
            noun, verb = ACTIONS[video.parent.name]
            for i, (start, stop) in enumerate((("00.00", "00.60"), ("00.40", "01.00"))):
                classes = f"{verb},{HEADS['verb'].index(verb)},{noun},{HEADS['noun'].index(noun)}"
                lines.append(f"{name}_{i},{participant},{name},00:00:{start},00:00:{stop},{classes}")
        (root / f"EPIC_100_{file}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for head, names in HEADS.items():
        lines = ["id,key,instances,category", *(f"{i},{name},[],x" for i, name in enumerate(names))]
        (root / f"EPIC_100_{head}_classes.csv").write_text("\n".join(lines) + "\n")
    return root


def train(data: Path, out: Path, *options: str) -> Path:
    assert cli.main(["train", "--data", str(data), *TRAIN_TINY, "--out", str(out), *options]) == 0
    return out


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


@pytest.fixture(scope="module")
def kitchens(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return epic_kitchens(videos, tmp_path_factory.mktemp("epic"))


@pytest.fixture(scope="module")
def run(kitchens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = ("--data.manifest.layout", "epic-kitchens-100", "--augment.mix.mixup", "0.1")
    smooth = ("--training.label_smoothing", "0.2", "--training.num_epochs", "2", "--training.accumulation", "2")
    return train(kitchens, tmp_path_factory.mktemp("run") / "epic", *layout, *smooth)


def test_a_run_measures_actions_and_each_head(run: Path) -> None:
    metrics = read_json(run / "evaluation" / "val" / "metrics.json")
    assert list(metrics["heads"]) == ["noun", "verb"]
    assert metrics["heads"]["noun"]["labels"] == HEADS["noun"]
    assert metrics["num_videos"] == metrics["heads"]["verb"]["num_videos"] == 16
    rows = rows_of(run / "evaluation" / "val" / "scores.csv")
    names = {head: [f"{head}:{name}" for name in HEADS[head]] for head in HEADS}
    right: dict[str, list[bool]] = {head: [] for head in HEADS}
    for row in rows:
        for head, columns in names.items():
            probs = [float(row[column]) for column in columns]
            assert sum(probs) == pytest.approx(1, abs=1e-4)
            assert row[f"{head}_predicted"] == HEADS[head][probs.index(max(probs))]
            right[head].append(row[f"{head}_predicted"] == row[head])
    both = [all(pair) for pair in zip(*right.values(), strict=True)]
    assert metrics["top1"] == pytest.approx(sum(both) / 16)
    for head, hits in right.items():
        assert metrics["heads"][head]["top1"] == pytest.approx(sum(hits) / 16)
    # One linear layer of 4 + 2 outputs; the best checkpoint is chosen by the actions.
    assert load(run / "best", "cpu").model.get_parameter("head.weight").shape[0] == 6
    validations = [float(row["top1"]) for row in rows_of(run / "validation.csv")]
    assert metrics["majority_source"] == "train"
    assert len(validations) == 2


def test_evaluate_says_what_the_run_said(
    run: Path, kitchens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(kitchens), "--manifest.layout", "epic-kitchens-100", "--split", "val"]
    argv = ["evaluate", str(run / "best"), *data, "--num-workers", "0", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    assert "val: action top-1" in capsys.readouterr().out
    mine, again = read_json(run / "evaluation" / "val" / "metrics.json"), read_json(tmp_path / "metrics.json")
    assert again["top1"] == mine["top1"]
    assert again["loss"] == pytest.approx(mine["loss"], abs=1e-5)
    assert again["heads"]["noun"]["confusion"] == mine["heads"]["noun"]["confusion"]


def test_evaluate_reads_the_columns_that_are_the_heads(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next((videos / "val" / "left").glob("*.mp4"))
    table = write_csv(tmp_path / "t.csv", [["path", "verb", "noun", "split"], [str(file), "minus", "side", "test"]])
    base = ["evaluate", str(run / "best"), "--data", str(table), "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*base, "--manifest.label-columns", "verb", "noun"]) == 1
    assert "class 'minus' of" in capsys.readouterr().err
    assert cli.main(base) == 0  # the columns are the heads, whatever their place in the table
    assert "action top-1" in capsys.readouterr().out


def test_predict_gives_actions_and_heads(run: Path, videos: Path, tmp_path: Path) -> None:
    file = next((videos / "val" / "left").glob("*.mp4"))
    classifier = load(run / "best", "cpu")
    prediction = classifier.predict(file)
    assert len(prediction.labels) == 8
    assert sum(prediction.probs) == pytest.approx(1, abs=1e-5)
    noun, verb = prediction.heads["noun"], prediction.heads["verb"]
    assert prediction.top1 == f"{noun.top1} + {verb.top1}"
    assert prediction.probs[0] == pytest.approx(noun.probs[0] * verb.probs[0])
    assert sum(noun.probs) == pytest.approx(1, abs=1e-5)
    with torch.inference_mode():
        (again,) = classifier.predict_files([file], top_k=2)
    assert not isinstance(again, str)
    assert again.labels == prediction.labels[:2]
    assert again.heads["noun"].labels == noun.labels[:2]


def test_the_command_line_shows_and_writes_every_head(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next((videos / "val" / "left").glob("*.mp4"))
    base = ["predict", str(run / "best"), str(file), "--device", "cpu", "--top-k", "2"]
    for options in (["--num-workers", "0"], ["--window", "clip", "--merge"]):
        assert cli.main([*base, *options, "--csv", str(tmp_path / "p.csv")]) == 0
        table = capsys.readouterr().out
        assert all(heading in table for heading in ("action", "noun", "verb"))
        rows = list(csv.DictReader((tmp_path / "p.csv").open()))
        assert {row["head"] for row in rows} == {"action", "noun", "verb"}
        assert cli.main([*base, *options, "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        (found,) = content["predictions"] if "--window" not in options else content["films"][0]["segments"][:1]
        assert len(found["heads"]["noun"]["labels"]) == len(found["heads"]["verb"]["probs"]) == 2
    assert cli.main(["inspect", str(run / "best")]) == 0
    shown = capsys.readouterr().out
    assert "labels of noun (4)" in shown
    assert "labels of verb (2)" in shown


def test_the_report_shows_actions_and_a_matrix_for_each_head(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "of actions: every head is right" in page
    for head in HEADS:
        assert f"Top-1 of {head}" in page
        assert f"<h3>{head}</h3>" in page
    assert "noun: height" in page


def test_what_goes_to_the_hub_says_both_heads(run: Path, tmp_path: Path) -> None:
    assert cli.main(["push", str(run), "me/kitchens", "--dry-run", str(tmp_path / "upload")]) == 0
    card = (tmp_path / "upload" / "README.md").read_text(encoding="utf-8")
    assert "2 heads (4 of noun, 2 of verb classes; an action is one of each)" in card
    assert "noun (4): side, height, angle, size" in card
    assert "| action top-1 |" in card


def test_huggingface_has_no_model_of_two_heads(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["convert", "tubelet", str(run / "best"), str(tmp_path / "out"), "--to", "huggingface"]
    assert cli.main(argv) == 1
    assert "not several heads" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_with_missing_labels_trains_natural_or_balanced(videos: Path, tmp_path: Path) -> None:
    rows = [["path", "split", "noun", "verb"]]
    for split in ("train", "val"):
        for i, video in enumerate(sorted(videos.glob(f"{split}/*/*.mp4"))):
            noun, verb = ACTIONS[video.parent.name]
            rows.append([str(video), split, "" if i % 5 == 1 else noun, "" if i % 5 == 2 else verb])
    data = write_csv(tmp_path / "labels.csv", rows)
    columns = ("--data.manifest.label_columns", "noun,verb")
    losses = {}
    for how in ((), ("--training.class_weights", "balanced"), ("--training.sampling", "balanced")):
        run = train(data, tmp_path / f"run{len(losses)}", *columns, *how)
        first, *_ = rows_of(run / "log.csv")
        losses[how] = (float(first["loss"]), float(first["grad_norm"]))
    natural, weighted, sampled = losses.values()
    # The head begins at zero, with which every class is equally likely.
    assert natural[0] == sampled[0] == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert weighted[0] != pytest.approx(natural[0], abs=1e-4)
    assert len({natural[1], weighted[1], sampled[1]}) == 3
    metrics = read_json(run / "evaluation" / "val" / "metrics.json")
    known = [[row[2] != "", row[3] != ""] for row in rows if row[1] == "val"]
    assert metrics["num_videos"] == sum(map(all, known))
    assert metrics["heads"]["noun"]["num_videos"] == sum(noun for noun, _ in known)
    scores = rows_of(run / "evaluation" / "val" / "scores.csv")
    assert [[row["noun"] != "", row["verb"] != ""] for row in scores] == known
    assert all(row["noun_predicted"] for row in scores)


def test_a_training_on_several_labels_per_video_ends_with_their_average_precision(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["path", "split", "label"]]
    for split in ("train", "val", "test"):
        for i, video in enumerate(sorted(videos.glob(f"{split}/*/*.mp4"))):
            rows.append([str(video), split, "" if i == 3 else "|".join(ACTIONS[video.parent.name])])
    data = write_csv(tmp_path / "labels.csv", rows)
    several = ("--data.manifest.label_separator", "|")
    run = train(data, tmp_path / "run", *several, "--training.class_weights", "balanced", "--training.num_epochs", "2")
    metrics = read_json(run / "evaluation" / "test" / "metrics.json")
    assert metrics["labels"] == sorted([*HEADS["noun"], *HEADS["verb"]])
    assert 0 < metrics["mean_average_precision"] <= 1
    assert metrics["class_counts"]["side"] == sum("side" in row[2] for row in rows if row[1] == "test")
    validations = [float(row["mean_average_precision"]) for row in rows_of(run / "validation.csv")]
    assert len(validations) == 2
    first = rows_of(run / "evaluation" / "test" / "scores.csv")[0]
    assert first["label"] in {"angle|plus", "plus|angle"}
    assert "predicted" not in first
    assert "Average precision per class" in (run / "report.html").read_text(encoding="utf-8")

    prediction = load(run / "best", "cpu").predict(str(rows[1][0]))
    assert sum(prediction.probs) != pytest.approx(1, abs=0.05)
    assert prediction.heads == {}
    argv = ["evaluate", str(run / "best"), "--data", str(data), "--num-workers", "0", "--device", "cpu"]
    capsys.readouterr()
    assert cli.main([*argv, "--manifest.label-separator", "|"]) == 0
    assert "test: mAP" in capsys.readouterr().out
    assert cli.main(["push", str(run), "me/several", "--dry-run", str(tmp_path / "upload")]) == 0
    assert "| mAP |" in (tmp_path / "upload" / "README.md").read_text(encoding="utf-8")
