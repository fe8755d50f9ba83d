"""``tubelet data prepare`` and ``tubelet data bench`` on real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from support import error_of, motion_videos
from tubelet import cli
from tubelet.data.video.packet_index_store import IndexStore

WORDS = ("--protocol.num-frames", "4", "--protocol.resize-short-side", "20", "--protocol.crop-size", "16", "16")
CLIPS = Path(__file__).parents[1] / "fixtures" / "clips"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder val/<class>/0000.mp4: the motion set's smallest split."""
    folder = motion_videos(tmp_path / "motion") / "val"
    return Path(shutil.move(folder, tmp_path / "videos"))


def test_prepared_data_can_be_trained_on_and_says_what_was_done(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--manifest.val-fraction", "0", "--manifest.test-fraction", "0", "--num-workers", "1"]
    assert cli.main(["data", "prepare", str(videos), str(tmp_path / "out"), *options, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["num_files"], done["num_made"], done["failures"]) == (8, 8, {})
    assert cli.main(["data", "prepare", str(videos), str(tmp_path / "out"), *options]) == 0
    assert "0 files transcoded, 8 were done before, 0 failed" in capsys.readouterr().out
    assert cli.main(["data", "bench", done["manifest"], *WORDS, "--num-clips", "3", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["failures"] == []
    assert set(measured["seconds_per_clip"]) == {"open", "decode", "convert", "augment", "copy", "collate", "total"}
    assert measured["seconds_per_clip"]["total"] > 0
    assert measured["bottleneck"] in measured["seconds_per_clip"]


def test_a_video_that_fails_is_named_and_makes_the_exit_code_1(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CLIPS / "corrupted.mp4", videos / "left" / "bad.mp4")
    options = ["--manifest.val-fraction", "0", "--manifest.test-fraction", "0", "--num-workers", "1"]
    assert cli.main(["data", "prepare", str(videos), str(tmp_path / "out"), *options]) == 1
    out, err = capsys.readouterr()
    assert "8 files transcoded, 0 were done before, 1 failed" in out
    assert "bad.mp4: expected a video" in err
    assert err.splitlines()[-1].startswith("tubelet: error: 1 of 9 videos could not be transcoded")
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_bench_says_the_bottleneck_in_a_sentence_and_keeps_the_index(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--manifest.val-fraction", "0", "--manifest.test-fraction", "0", "--num-workers", "1"]
    assert cli.main(["data", "bench", str(videos), *WORDS, *options, "--num-clips", "2"]) == 0
    assert "One worker reads" in capsys.readouterr().out.splitlines()[-1]
    assert IndexStore.beside(videos).get(videos / "left" / "0000.mp4") is not None


def test_volumes_are_measured_and_not_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            np.save(tmp_path / "data" / name / f"{number}.npy", np.zeros((4, 24, 24), np.uint8))
    line = error_of(["data", "prepare", str(tmp_path / "data"), str(tmp_path / "out")], capsys)
    assert "of 12 rows 12 are volumes" in line
    assert cli.main(["data", "bench", str(tmp_path / "data"), *WORDS, "--num-clips", "2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "One worker reads" in last
    assert "prepare" not in last
