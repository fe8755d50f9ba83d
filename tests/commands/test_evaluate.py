"""``tubelet evaluate``: any labeled split, by the checkpoint's protocol, classes and path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

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
    scored, line = capsys.readouterr().out.splitlines()
    assert scored == "16 of 40 videos: the test part as the data state it"
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
        (["--views", "4"], "views '4' is not TEMPORALxSPATIAL with 1 or 3 spatial crops, for example 4x3"),
        (["--views", "4x2"], "views '4x2' is not TEMPORALxSPATIAL"),
        (["--views", "0x1"], "views '0x1' is not TEMPORALxSPATIAL"),
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
        ["evaluate", str(checkpoint), "--data", str(data), "--split", "test"], capsys
    )


@pytest.fixture(scope="module")
def pool(videos: Path) -> Path:
    """Class folders without a split."""
    return videos / "train"


@pytest.fixture(scope="module")
def run(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on ``pool``: its split is made for it. Two processes read."""
    folder = tmp_path_factory.mktemp("run") / "run"
    # The motions of one class look alike: files are split one by one, so that the test part holds every class.
    split = ("--data.manifest.split_by", "files", "--data.manifest.val_fraction", "0")
    options = (*TRAIN_TINY, *split, "--data.num_workers", "2")
    assert cli.main(["train", "--data", str(pool), "--out", str(folder), *options]) == 0
    return folder


def evaluated(run: Path, data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str, str]:
    """What was scored, the summary, and the notes."""
    capsys.readouterr()
    argv = ["evaluate", str(run / "best"), "--data", str(data), "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*argv, *options]) == 0
    out, err = capsys.readouterr()
    scored, summary = out.splitlines()
    return scored, summary, " ".join(err.split())


def trained_on(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "best" / "tubelet.json").read_text(encoding="utf-8"))
    return found["provenance"]["trained_on"]  # type: ignore[no-any-return]


def test_the_split_that_the_checkpoint_recorded_is_scored_wherever_the_data_lie(
    run: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text(encoding="utf-8"))
    moved = tmp_path / "moved"
    shutil.copytree(pool, moved)
    for data in (pool, moved):
        scored, summary, _ = evaluated(run, data, capsys)
        assert scored == f"{metrics['num_videos']} of 16 videos: the test part of the split recorded by the checkpoint"
        assert summary.startswith("test: ")
        assert "SEEN" not in summary


@pytest.mark.parametrize("num_classes", [1, 3])
def test_other_data_are_scored_whole(
    run: Path, videos: Path, tmp_path: Path, num_classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("up", "down", "left")[:num_classes]:
        shutil.copytree(videos / "test" / name, tmp_path / "new" / name)
    scored, summary, _ = evaluated(run, tmp_path / "new", capsys)
    assert scored == f"all {2 * num_classes} videos of {tmp_path / 'new'}"
    assert f"({2 * num_classes} videos, 2x1 views" in summary


def test_all_of_the_data_are_scored_if_asked_and_what_was_trained_on_is_counted(
    run: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = trained_on(run)["num_rows"]
    scored, summary, _ = evaluated(run, pool, capsys, "--split", "all")
    assert scored == f"all 16 videos of {pool}"
    assert f"(16 videos, {number} of them SEEN IN TRAINING (" in summary


def test_a_video_that_was_trained_on_is_known_under_any_name(
    run: Path, pool: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new" / "up").mkdir(parents=True)
    for i, file in enumerate(sorted(pool.rglob("*.mp4"))):
        shutil.copy(file, tmp_path / "new" / "up" / f"renamed_{i}.mp4")
    shutil.copy(videos / "test" / "up" / "0000.mp4", tmp_path / "new" / "up" / "unknown.mp4")
    capsys.readouterr()
    argv = ["evaluate", str(run / "best"), "--data", str(tmp_path / "new"), "--num-workers", "2", "--device", "cpu"]
    assert cli.main([*argv, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["num_seen"] == len(metrics["seen"]) == trained_on(run)["num_known"] == trained_on(run)["num_rows"]
    assert "up/unknown.mp4" not in metrics["seen"]
    assert metrics["scored"] == f"all 17 videos of {tmp_path / 'new'}"


def test_videos_of_the_first_weights_are_seen_too(
    run: Path, pool: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine_tuned, split = tmp_path / "fine_tuned", ["--data.manifest.split_by", "files"]
    options = ["--init", str(run / "best"), *TRAIN_TINY, *split, "--out", str(fine_tuned)]
    assert cli.main(["train", "--data", str(videos / "test"), *options]) == 0
    _, summary, _ = evaluated(fine_tuned, pool, capsys, "--split", "all")
    assert f"(16 videos, {trained_on(run)['num_rows']} of them SEEN IN TRAINING (" in summary
    out = tmp_path / "pushed"
    assert cli.main(["push", str(fine_tuned), "me/gestures", "--dry-run", str(out)]) == 0
    assert not json.loads((out / "tubelet.json").read_text())["provenance"]["init"]["trained_on"]["contents"]


def test_another_split_of_the_data_is_pointed_out(run: Path, pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored, _, notes = evaluated(run, pool, capsys, "--split", "val", "--manifest.split-seed", "1")
    assert "the val part of a split made now, which the checkpoint does not know" in scored
    assert "it may hold videos that the model has seen" in notes


def test_a_checkpoint_without_hashes_says_that_nothing_is_known(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "whether the model has seen these videos in training is not known" in said


def test_hashes_are_pushed_only_if_asked(run: Path, tmp_path: Path) -> None:
    for number, options in enumerate(([], ["--content-hashes"])):
        out = tmp_path / str(number)
        assert cli.main(["push", str(run), "me/gestures", "--dry-run", str(out), *options]) == 0
        record = json.loads((out / "tubelet.json").read_text(encoding="utf-8"))
        assert bool(record["provenance"]["trained_on"]["contents"]) == bool(options)
