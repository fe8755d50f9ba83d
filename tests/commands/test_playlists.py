"""A text that names other files is no video, whatever it is called: predict, scan and train refuse it by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import TRAIN_TINY, error_of
from tubelet import cli

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{file}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {file}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.fixture(params=PLAYLISTS)
def folder(request: pytest.FixtureRequest, videos: Path, tmp_path: Path) -> Path:
    """Two classes; every file of one is a list that names the video beside it."""
    data = tmp_path / "data"
    for split in ("train", "val"):
        for name in ("a", "b"):
            (data / split / name).mkdir(parents=True)
        shutil.copy(videos / split / "left" / "0000.mp4", data / split / "a" / "real.mp4")
        shutil.copy(videos / split / "left" / "0000.mp4", data / split / "b" / "real.bin")
        for lines, name in enumerate(("list.mp4", "other.mp4")):  # one unreadable file would be left out
            text = PLAYLISTS[request.param].format(file="real.bin") + "\n" * (lines + 2 * (split == "val"))
            (data / split / "b" / name).write_text(text)
    return data


def test_predict_refuses_a_list_of_other_files(
    folder: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "train" / "b" / "list.mp4"
    words = ["predict", str(checkpoint), str(file), "--num-workers", "0", "--device", "cpu", "--json"]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "expected a video" in out + err
    assert str(file) in out + err


def test_scan_calls_a_list_of_other_files_unreadable(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["data", "scan", str(folder), "--out", str(tmp_path / "scan"), "--num-workers", "1", "--json"])
    files = json.loads(capsys.readouterr().out)["files"]
    kinds = {Path(file["path"]).name: file["kind"] for file in files}
    assert kinds == {"real.mp4": "ok", "list.mp4": "unreadable", "other.mp4": "unreadable"}


def test_train_stops_at_a_list_of_other_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(["train", "--data", str(folder), "--out", str(tmp_path / "run"), *TRAIN_TINY], capsys)
    assert "expected a video" in line
