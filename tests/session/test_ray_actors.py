"""Ray actors make the parts that one call makes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import checkpoint, error_of, videos
from tubelet import cli
from tubelet.session.shards import PARTS

__all__ = ["checkpoint", "videos"]


def test_actors_predict_what_one_call_predicts_and_count_a_bad_file_once(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("footage").mkdir()
    for number, file in enumerate(sorted((videos / "test").rglob("*.mp4"))[:4]):
        shutil.copy(file, f"footage/{number}.mp4")
    Path("footage/bad.mp4").write_bytes(b"no video")
    words = ["predict", str(checkpoint), "footage", "--device", "cpu"]
    assert cli.main([*words, "--csv", "one.csv", "--num-workers", "0"]) == 1
    capsys.readouterr()
    assert cli.main([*words, "--out", "out", "--ray", "2"]) == 1
    assert "tubelet: error: 1 of 5 files could not be read" in capsys.readouterr().err
    assert Path("out/predictions.csv").read_bytes() == Path("one.csv").read_bytes()
    assert len(list(Path("out", PARTS).glob("0*"))) == 5
    assert "--ray shares all files between its actors" in error_of([*words, "--ray", "2"], capsys)
    assert "--ray must be the number of actors" in error_of([*words, "--out", "out", "--ray", "0"], capsys)
