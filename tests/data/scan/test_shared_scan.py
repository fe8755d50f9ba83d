"""``tubelet data scan --shard``: calls share the files, and the last one reports what one call would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import content_of, error_of, motion_videos
from tubelet import cli
from tubelet.session.shards import PARTS

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six files in two splits: one in both, one damaged."""
    made, root = motion_videos(tmp_path / "motion"), tmp_path / "data"
    for split in ("train", "test"):
        for name in ("up", "down"):
            (root / split / name).mkdir(parents=True)
            shutil.copy(made / split / name / "0000.mp4", root / split / name)
    shutil.copy(made / "train/up/0000.mp4", root / "test/up/again.mp4")
    shutil.copy(CLIPS / "corrupted.mp4", root / "train/down/bad.mp4")
    return root


def scan(data: Path, out: Path, *words: str) -> int:
    return cli.main(["data", "scan", str(data), "--out", str(out), "--num-workers", "1", *words])


def test_joined_parts_are_the_report_of_one_call(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = tmp_path / "one", tmp_path / "out"
    assert scan(data, one) == 1
    expected = capsys.readouterr().out
    assert scan(data, out, "--shard", "2/2") == 0
    shown, err = capsys.readouterr()
    assert shown == ""
    assert "3 of 6 parts are left to other parts: 00000000, 00000002, 00000004; they are those of --shard 1/2" in err
    assert not (out / "report.json").exists()
    assert scan(data, out, "--shard", "1/2") == 1
    assert capsys.readouterr().out == expected
    files = content_of(one)
    assert set(files) == {"report.json", "report.txt", "quarantine.csv", "results.jsonl"}
    assert {name: (out / name).read_bytes() for name in files} == files

    parts = {path.name: path.stat().st_mtime_ns for path in (out / PARTS).glob("0*")}
    bad = data / "train/down/bad.mp4"
    shutil.copy(data / "train/up/0000.mp4", bad)
    for shard in ("1/2", "2/2"):
        scan(data, out, "--shard", shard)
    changed = {path.name for path in (out / PARTS).glob("0*") if parts[path.name] != path.stat().st_mtime_ns}
    assert len(changed) == 1
    facts = {file["path"]: file["kind"] for file in json.loads((out / "report.json").read_text())["files"]}
    assert facts["train/down/bad.mp4"] == "ok"
    capsys.readouterr()
    bad.unlink()
    assert "holds facts of another list of files; give another --out" in error_of(
        ["data", "scan", str(data), "--out", str(out), "--shard", "1/2"], capsys
    )
