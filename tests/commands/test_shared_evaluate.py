"""``tubelet evaluate --out --shard``: calls share the rows, and the last one measures what one call would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import content_of, error_of
from tubelet import cli
from tubelet.session.shards import PARTS


@pytest.fixture
def data(videos: Path, tmp_path: Path) -> Path:
    """Thirteen of the videos, so that the last batch is not full, and one that cannot be read."""
    folder = tmp_path / "data"
    for number, file in enumerate(sorted((videos / "test").rglob("*.mp4"))[:13]):
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.parent.name / f"{number:02}.mp4")
    (folder / "left").mkdir(exist_ok=True)
    (folder / "left" / "00.mp4").write_bytes(bytes(file.stat().st_size))
    return folder


def evaluate(checkpoint: Path, data: Path, *words: str | Path) -> int:
    more = ["--num-workers", "0", "--device", "cpu", "--split", "all"]
    return cli.main(["evaluate", str(checkpoint), "--data", str(data), *map(str, words), *more])


def test_joined_parts_are_what_one_call_measures(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = tmp_path / "one", tmp_path / "out"
    assert evaluate(checkpoint, data, "--out", one, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    assert expected["num_failed"] == 1
    assert evaluate(checkpoint, data, "--out", out, "--shard", "2/2") == 0
    shown, err = capsys.readouterr()
    assert shown == ""
    assert "2 of 4 parts are left to other parts: 00000000, 00000002; they are those of --shard 1/2" in err
    assert not (out / "metrics.json").exists()
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == expected
    files = content_of(one)
    assert set(files) == {"metrics.json", "scores.csv", "unreadable.csv"}
    assert {name: (out / name).read_bytes() for name in files} == files


def test_a_part_that_is_there_is_not_made_again(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/1") == 0
    parts = {path.name: path.stat().st_mtime_ns for path in (out / PARTS).glob("0*")}
    (bad,) = (name for name in parts if json.loads((out / PARTS / name / "rows.json").read_text())["failed"])
    gone = "00000000" if bad != "00000000" else "00000001"
    shutil.rmtree(out / PARTS / gone)
    shutil.copy(next(data.rglob("12.mp4")), data / "left" / "00.mp4")  # as large as the bad one
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/1") == 0
    again = {path.name: path.stat().st_mtime_ns for path in (out / PARTS).glob("0*")}
    assert {name for name in parts if parts[name] == again[name]} == set(parts) - {bad, gone}
    assert json.loads((out / "metrics.json").read_text())["num_failed"] == 0
    assert not (out / "unreadable.csv").exists()


def test_parts_of_another_evaluation_are_refused(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*words: str | Path) -> str:
        return error_of(["evaluate", str(checkpoint), "--data", str(data), *map(str, words), "--split", "all"], capsys)

    out = tmp_path / "out"
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/2") == 0
    capsys.readouterr()
    shared = ("--out", out, "--shard", "2/2", "--num-workers", "0")
    assert "holds scores of another batch size; give another --out" in says(*shared, "--batch-size", "2")
    assert "of another protocol" in says(*shared, "--views", "2x1")
    (data / "left" / "00.mp4").unlink()
    assert "of another data" in says(*shared)
    assert "--shard belongs to --out" in says("--shard", "1/2")
    assert "--shard must be PART/PARTS" in says("--out", out, "--shard", "2")


def test_a_damaged_part_is_named_and_the_call_of_its_part_makes_it_again(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/1") == 0
    metrics = (out / "metrics.json").read_bytes()
    (out / PARTS / "00000000" / "rows.json").write_bytes(b"")
    capsys.readouterr()
    more = ["--num-workers", "0", "--device", "cpu", "--split", "all", "--out", str(out), "--shard", "2/2"]
    said = error_of(["evaluate", str(checkpoint), "--data", str(data), *more], capsys)
    assert f"{out / PARTS / '00000000'}: is damaged (" in said
    assert evaluate(checkpoint, data, "--out", out, "--shard", "1/2") == 0
    assert (out / "metrics.json").read_bytes() == metrics
