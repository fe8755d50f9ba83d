"""``tubelet evaluate``: any labeled split, by the checkpoint's protocol, classes and path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import COUNTS, TRAIN_TINY, content_of, error_of, rows_of
from tubelet import cli


@pytest.fixture
def argv(checkpoint: Path, videos: Path) -> list[str]:
    return ["evaluate", str(checkpoint), "--data", str(videos), "--num-workers", "0", "--device", "cpu"]


def test_the_summary_never_separates_accuracy_from_its_protocol(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("test: top-1 ")
    assert "(16 videos, 2x3 views, fp32, 0 failed; always 'clockwise' gives 12.5%)" in line


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_split_and_views_are_those_asked_for(argv: list[str], split: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*argv, "--split", split, "--views", "5x1", "--averaging", "probs", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["split"], metrics["num_videos"]) == (split, COUNTS[split])
    assert (metrics["views"], metrics["averaging"]) == ("5x1", "probs")


def test_views_and_averaging_change_the_scores(argv: list[str], tmp_path: Path) -> None:
    scores = []
    for name, options in (("own", []), ("fewer", ["--views", "1x1"]), ("probs", ["--averaging", "probs"])):
        assert cli.main([*argv, *options, "--out", str(tmp_path / name)]) == 0
        scores.append([row["growing"] for row in rows_of(tmp_path / name / "scores.csv")])
    assert scores[0] != scores[1]
    assert scores[0] != scores[2]


def test_nothing_is_written_unless_asked(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = content_of(checkpoint)
    assert cli.main(argv) == 0
    assert list(tmp_path.iterdir()) == []
    assert content_of(checkpoint) == before


def test_the_classes_are_those_of_the_checkpoint_in_its_order(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data that shows two of the eight classes, under a label column of another name."""
    table = tmp_path / "some.csv"
    table.write_text("path,motion\n" + "".join(f"test/{name}/0000.mp4,{name}\n" for name in ("up", "left")))
    argv = ["evaluate", str(checkpoint), "--data", str(table), "--num-workers", "0", "--json", "--split", "train"]
    options = ["--manifest.root", str(videos), "--manifest.label-columns", "motion", "--device", "cpu"]
    assert cli.main([*argv, *options, "--manifest.val-fraction", "0", "--manifest.test-fraction", "0"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert len(metrics["labels"]) == 8
    assert {label: count for label, count in metrics["class_counts"].items() if count} == {"left": 1, "up": 1}


def test_unreadable_files_are_named_and_counted(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "videos"
    shutil.copytree(videos, data)
    (data / "test" / "up" / "0001.mp4").write_bytes(b"")
    argv = ["evaluate", str(checkpoint), "--data", str(data), "--num-workers", "0", "--device", "cpu"]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert "(15 videos, 2x3 views, fp32, 1 failed;" in out
    assert sum(str(data / "test" / "up" / "0001.mp4") in line for line in err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "4"], "--views '4' is not TEMPORALxSPATIAL with 1 or 3 spatial crops, for example 4x3"),
        (["--views", "4x2"], "--views '4x2' is not TEMPORALxSPATIAL"),
        (["--views", "0x1"], "--views '0x1' is not TEMPORALxSPATIAL"),
        (["--batch-size", "0"], "batch_size must be positive"),
        (["--manifest.class-names", "label", "a", "b"], "the class names are those of the checkpoint"),
        (
            ["--manifest.label-columns", "a", "b"],
            "name one label column for each head of the checkpoint (label), got a",
        ),
        (["--data", "embedded:adrenal"], "no embedded data 'adrenal'; did you mean 'adrenalmnist3d'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    argv: list[str], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert message in error_of([*argv, *options, "--out", str(out)], capsys)
    assert not out.exists()


def test_a_class_the_checkpoint_does_not_know_is_refused(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "videos"
    for split in ("train", "test"):
        for name in ("left", "backwards"):
            (data / split / name).mkdir(parents=True)
            shutil.copy(videos / "test" / "left" / "0000.mp4", data / split / name / "0.mp4")
    said = error_of(["evaluate", str(checkpoint), "--data", str(data)], capsys)
    assert "class 'backwards' of test/backwards/0.mp4 is not among the 8 class names" in said


def test_a_split_that_the_data_lacks_is_refused(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "videos"
    shutil.copytree(videos / "train", data / "train")
    assert "no 'test' split; this data has train, val" in error_of(
        ["evaluate", str(checkpoint), "--data", str(data)], capsys
    )


@pytest.mark.parametrize("options", [[], ["--manifest.split-seed", "1"]], ids=["as trained", "another split"])
def test_a_split_that_training_may_have_seen_is_pointed_out(
    videos: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(videos / "train")
    assert cli.main(["train", "--data", data, "--out", str(tmp_path / "run"), *TRAIN_TINY]) == 0
    capsys.readouterr()
    argv = ["evaluate", str(tmp_path / "run" / "best"), "--data", data, "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*argv, "--split", "val", *options]) == 0
    assert ("'val' may hold videos that it has seen" in capsys.readouterr().err) == bool(options)
