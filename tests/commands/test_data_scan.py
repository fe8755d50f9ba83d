from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from layout_examples import cvat, label_studio, roboflow
from support import TRAIN_TINY, error_of, rows_of
from tubelet import cli

CLIPS = Path(__file__).parents[1] / "fixtures" / "clips"


@pytest.fixture
def flawed(videos: Path, tmp_path: Path) -> Path:
    """Some of the motion videos; one of the training split is also in test, one is damaged."""
    root = tmp_path / "my_clips"
    for split in ("train", "val", "test"):
        for name in ("up", "down"):
            (root / split / name).mkdir(parents=True)
            shutil.copy(videos / split / name / "0000.mp4", root / split / name)
    shutil.copy(videos / "train/up/0001.mp4", root / "train/up/0001.mp4")
    shutil.copy(videos / "train/up/0001.mp4", root / "test/up/9999.mp4")
    shutil.copy(CLIPS / "corrupted.mp4", root / "train/down/bad.mp4")
    return root


def test_a_scan_reports_writes_its_files_and_fails_where_there_are_problems(
    flawed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan"
    assert cli.main(["data", "scan", str(flawed), "--out", str(out)]) == 1
    text, err = capsys.readouterr()
    assert text == (out / "report.txt").read_text(encoding="utf-8")
    assert text.index("leakage") < text.index("train/down/bad.mp4")
    assert "tubelet: error: the scan found problems" in err.splitlines()[-1]
    assert [row["path"] for row in rows_of(out / "quarantine.csv")] == ["train/down/bad.mp4", "train/up/0001.mp4"]

    assert cli.main(["data", "scan", str(flawed), "--out", str(out), "--json"]) == 1
    text, err = capsys.readouterr()
    assert json.loads(text) == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert "9 of 9 files are unchanged since the last scan" in err

    # Without what the list names nothing is wrong, and training takes the list.
    list_ = str(out / "quarantine.csv")
    clean = ["data", "scan", str(flawed), "--out", str(tmp_path / "clean"), "--manifest.quarantine", list_]
    assert cli.main(clean) == 0
    assert "No problems" in capsys.readouterr().out
    options = ["--data", str(flawed), "--data.manifest.quarantine", list_, "--out", str(tmp_path / "run"), *TRAIN_TINY]
    assert cli.main(["train", *options, "--data.failure_budget", "0"]) == 0
    assert "2 of 9 rows left out by the quarantine list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("write", "options", "films"),
    [
        (roboflow, ["--manifest.frame_fps", "2"], ["films/day1.mp4", "films/night.mov"]),
        (cvat, ["--manifest.layout", "cvat"], ["films/day 1.mp4", "films/day2.mkv"]),
        (label_studio, ["--manifest.layout", "label-studio"], ["a/clip.mp4", "film-2.mp4"]),
    ],
)
def test_films_that_an_export_names_and_that_are_not_there_are_problems_and_no_row_is_refused(
    write: Callable[[Path], Path],
    options: list[str],
    films: list[str],
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, out = write(tmp_path / "export"), tmp_path / "scan"
    there, gone = (root / film for film in films)
    shutil.copy(videos / "train/up/0000.mp4", there)
    gone.unlink()
    words = ["data", "scan", str(root), *options, "--out", str(out)]
    assert cli.main(words) == 1
    text = capsys.readouterr().out
    assert f"missing: {gone.stem}: there is no such file" in text
    assert "No problems" not in text
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["is_clean"], report["absent"], report["num_files"]) == (False, [gone.stem], 1)
    there.unlink()
    shutil.rmtree(out)
    for more in ([], ["--shard", "1/2"]):
        line = error_of([*words, *more], capsys)
        assert "no row to scan, as none of the 2 files that it names is there" in line
        assert gone.stem in line
    assert not out.exists()


def test_help_lists_the_commands_and_an_unknown_one_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["data", "--help"])
    listed = capsys.readouterr().out
    for name in ("manifest", "scan", "show", "prepare", "bench", "get"):
        assert f"  {name} " in listed
    assert cli.main(["data", "scna"]) == 2
    assert "unknown command 'data scna'; did you mean 'scan'?" in capsys.readouterr().err
    assert cli.main(["data"]) == 2


def test_data_that_is_not_there_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in error_of(["data", "scan", str(tmp_path / "nothing")], capsys)
    assert "num_workers must be at least 1" in error_of(["data", "scan", str(tmp_path), "--num-workers", "0"], capsys)
