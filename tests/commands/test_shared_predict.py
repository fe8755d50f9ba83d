"""``tubelet predict --out --shard``: calls share the files, and joined parts are what one call writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import error_of, rows_of
from tubelet import cli
from tubelet.session.shards import PARTS


@pytest.fixture
def footage(videos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "footage"
    folder.mkdir()
    for number, file in enumerate(sorted((videos / "test").rglob("*.mp4"))[:4]):
        shutil.copy(file, folder / f"{number}.mp4")
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


def predict(checkpoint: Path, *words: str | Path) -> int:
    workers = () if "--window" in words else ("--num-workers", "0")
    return cli.main(["predict", str(checkpoint), *map(str, words), *workers, "--device", "cpu"])


@pytest.mark.parametrize("how", [(), ("--window", "clip")])
def test_joined_parts_are_what_one_call_writes(
    checkpoint: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: tuple[str, ...]
) -> None:
    one, csv, out = tmp_path / "one.csv", tmp_path / "shared.csv", tmp_path / "out"
    assert predict(checkpoint, footage, *how, "--csv", one, "--json") == 1
    expected = json.loads(capsys.readouterr().out)
    for shard in ("3/3", "1/3"):
        predict(checkpoint, footage, *how, "--out", out, "--shard", shard)
    err = capsys.readouterr().err
    assert "2 of 5 parts are left to other parts: 00000001, 00000004; they are those of --shard 2/3" in err
    assert not (out / "predictions.csv").exists()
    assert predict(checkpoint, footage, *how, "--out", out, "--shard", "2/3", "--csv", csv, "--json") == 1
    assert json.loads(capsys.readouterr().out) == expected
    assert csv.read_bytes() == one.read_bytes() == (out / "predictions.csv").read_bytes()


def test_a_file_that_was_bad_or_has_changed_is_predicted_again_and_no_other(
    checkpoint: Path, footage: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(checkpoint, footage, "--out", out) == 1
    parts = {path.name: path.stat().st_mtime_ns for path in (out / PARTS).iterdir() if path.is_dir()}
    shutil.copy(footage / "0.mp4", footage / "bad.mp4")
    shutil.copy(footage / "0.mp4", footage / "1.mp4")
    assert predict(checkpoint, footage, "--out", out) == 0
    again = {path.name: path.stat().st_mtime_ns for path in (out / PARTS).iterdir() if path.is_dir()}
    assert {name for name in parts if parts[name] != again[name]} == {"00000001", "00000004"}
    assert len({row["path"] for row in rows_of(out / "predictions.csv")}) == 5


def test_a_killed_call_goes_on_with_what_is_missing(checkpoint: Path, footage: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "out", ["--num-workers", "0", "--device", "cpu"]
    command = [sys.executable, "-m", "tubelet", "predict", str(checkpoint), str(footage), "--out", str(out), *words]
    (footage / "bad.mp4").unlink()
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    while not list((out / PARTS).glob("0*")) and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    there = {path: path.stat().st_ino for path in (out / PARTS).glob("0*")}
    assert there
    assert predict(checkpoint, footage, "--out", out) == 0
    assert all(path.stat().st_ino == number for path, number in there.items())
    assert predict(checkpoint, footage, "--csv", tmp_path / "one.csv") == 0
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_parts_of_something_else_are_refused(
    checkpoint: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*words: str | Path) -> str:
        return error_of(["predict", str(checkpoint), *map(str, words)], capsys)

    out = tmp_path / "out"
    predict(checkpoint, footage / "0.mp4", "--out", out, "--shard", "1/1")
    capsys.readouterr()
    assert "holds predictions of another files; give another --out" in says(footage / "1.mp4", "--out", out)
    assert "of another protocol" in says(footage / "0.mp4", "--out", out, "--views", "2x1")
    assert "of another windows" in says(footage / "0.mp4", "--out", out, "--window", "clip")
    record = out / PARTS / "shared.json"
    record.write_text(record.read_text().replace('"version of tubelet": "', '"version of tubelet": "9'))
    assert "of another version of tubelet" in says(footage / "0.mp4", "--out", out)
    record.write_text("{")
    assert "is not the record of predictions" in says(footage / "0.mp4", "--out", out)
    assert "--shard belongs to --out" in says(footage, "--shard", "1/2")
    assert "no folder of predictions" in says(footage, "--out", _full(tmp_path))


def _full(folder: Path) -> Path:
    (folder / "full" / PARTS).mkdir(parents=True)
    (folder / "full" / PARTS / "notes.txt").write_text("mine")
    return folder / "full"


def test_a_damaged_part_is_named_and_the_call_of_its_part_makes_it_again(
    checkpoint: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(checkpoint, footage, "--out", out) == 1
    whole = (out / "predictions.csv").read_bytes()
    (out / "predictions.csv").unlink()
    (out / PARTS / "00000000" / "results.jsonl").write_bytes(b"")
    words = ["--out", str(out), "--num-workers", "0", "--device", "cpu"]
    capsys.readouterr()
    said = error_of(["predict", str(checkpoint), str(footage), *words, "--shard", "2/2"], capsys)
    assert f"{out / PARTS / '00000000'}: is damaged (0 of 1 results in results.jsonl)" in said
    assert not (out / "predictions.csv").exists()
    assert predict(checkpoint, footage, "--out", out, "--shard", "1/2") == 1
    assert (out / "predictions.csv").read_bytes() == whole


def test_the_call_that_joins_counts_what_others_could_not_read(
    checkpoint: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"  # of files in the order of their names, bad.mp4 is the last of five
    assert predict(checkpoint, footage, "--out", out, "--shard", "1/2") == 1
    assert predict(checkpoint, footage, "--out", out, "--shard", "2/2") == 1
    assert "1 of 5 files could not be read" in capsys.readouterr().err.splitlines()[-1]
