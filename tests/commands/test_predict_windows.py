"""``tubelet predict --window``: segments as a table, JSON, CSV and a picture; a bad file stops no other."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from support import PROTOCOL, content_of, error_of, rows_of, write_checkpoint
from tubelet import cli
from tubelet.commands.work.predict_windows import clock, seconds_of
from tubelet.errors import ConfigError


def windows(checkpoint: Path, *arguments: str | Path) -> int:
    return cli.main(["predict", str(checkpoint), *map(str, arguments), "--device", "cpu"])


def test_json_csv_and_table_say_the_same(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "out.csv"
    asked = (film, "--window", "400ms", "--hop", "0.2s", "--fps", "10", "--top-k", "2")
    assert windows(checkpoint, *asked, "--json", "--csv", table) == 0
    out, err = capsys.readouterr()
    (found,) = json.loads(out)["films"]
    assert "windows of 0.4 s (4 frames, one every 0.1 s), one every 0.2 s" in err
    assert (found["source"], found["window_seconds"], found["hop_seconds"]) == (str(film), 0.4, 0.2)
    starts = [round(s["start_seconds"], 6) for s in found["segments"]]
    assert starts == [0.0, 0.2, 0.4, 0.6]
    rows = rows_of(table)
    assert [(row["start_seconds"], row["rank"]) for row in rows[:3]] == [("0.000", "1"), ("0.000", "2"), ("0.200", "1")]
    assert [row["label"] for row in rows] == [label for s in found["segments"] for label in s["labels"]]
    assert windows(checkpoint, *asked) == 0
    out = capsys.readouterr().out
    assert out.count("0:00.20") == 1
    assert out.count("0:00.40") == 2


def test_a_whole_film_is_one_segment(checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert windows(checkpoint, film, "--window", "whole", "--fps", "7", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["films"]
    (segment,) = found["segments"]
    assert found["frames_per_window"] == 6  # of 7 samples, in tubelets of 2
    assert (segment["start_seconds"], segment["end_seconds"]) == (0, pytest.approx(6 / 7))
    # 4 samples, the last of which stands for more than is left; 1 sample, which is less than a tubelet.
    for fps, is_short in (("3.3", False), ("0.5", True)):
        assert windows(checkpoint, film, "--window", "whole", "--fps", fps) == 0
        assert ("shorter than a window" in capsys.readouterr().err) == is_short


def test_merged_segments_cover_the_film_without_overlap(
    checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert windows(checkpoint, film, "--window", "0.4s", "--hop", "0.2s", "--fps", "10", "--merge", "--json") == 0
    segments = json.loads(capsys.readouterr().out)["films"][0]["segments"]
    assert segments[0]["start_seconds"] == 0
    assert segments[-1]["end_seconds"] == pytest.approx(1.0)
    for before, after in itertools.pairwise(segments):
        assert before["end_seconds"] == pytest.approx(after["start_seconds"])
        assert before["labels"][0] != after["labels"][0]


def test_the_timeline_is_a_picture(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    picture = tmp_path / "film.png"
    assert windows(checkpoint, film, "--window", "clip", "--plot", picture) == 0
    assert imread(picture).std() > 0.05
    second = shutil.copy(film, tmp_path / "other.mp4")
    assert windows(checkpoint, film, second, "--window", "clip", "--plot", tmp_path / "all.svg") == 0
    assert {p.name for p in tmp_path.glob("all*")} == {"all-film.svg", "all-other.svg"}
    assert "<svg" in (tmp_path / "all-film.svg").read_text(encoding="utf-8")


def test_a_file_shorter_than_a_window_is_said_to_be_looped(
    checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert windows(checkpoint, film, "--window", "10s", "--json") == 0
    out, err = capsys.readouterr()
    assert "film.mp4: shorter than a window (1.00 s): looped" in err
    (segment,) = json.loads(out)["films"][0]["segments"]
    assert segment["end_seconds"] == pytest.approx(1.0)


def test_a_bad_file_is_one_line_and_the_others_are_predicted(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"this is no video")
    assert windows(checkpoint, bad, film, "--window", "clip", "--json") == 1
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert len(content["films"]) == len(content["errors"]) == 1
    assert "tubelet: error: 1 of 2 files could not be read" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hop", "1s"), "--hop belongs to --window; give a length, for example --window 4s"),
        (("--merge",), "--merge belongs to --window"),
        (("--window", "four"), "--window must be a positive length of time such as 4s, 250ms or 1.5min, got 'four'"),
        (("--window", "4s", "--hop", "0"), "--hop must be a positive length of time"),
        (("--window", "0.05s", "--fps", "10"), "less than one tubelet of 2 frames"),
        (("--window", "whole", "--hop", "1s"), "--hop has no meaning with --window whole, which is one window"),
        (("--window", "1s", "--num-workers", "2"), "--num-workers has no meaning with --window, which decodes in this"),
        (("--window", "1s", "--plot", "timeline.gif"), "--plot timeline.gif: the name must end in one of .png"),
    ],
)
def test_what_makes_no_sense_is_refused(
    checkpoint: Path,
    film: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = content_of(film.parent)
    assert message in error_of(["predict", str(checkpoint), str(film), *arguments, "--device", "cpu"], capsys)
    assert content_of(film.parent) == before


def test_a_volume_is_refused_with_what_to_do_and_the_others_are_predicted(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "volume.npy", np.zeros((8, 32, 32), np.uint8))
    assert windows(checkpoint, tmp_path / "volume.npy", film, "--window", "clip", "--json") == 1
    out, err = capsys.readouterr()
    content = json.loads(out)
    (line,) = content["errors"]
    assert line == (
        f"{tmp_path / 'volume.npy'}: a volume or array has no times to lay windows on; predict it whole, without a "
        "window, or give a video file"
    )
    assert [found["source"] for found in content["films"]] == [str(film)]
    assert f"error: {line}" in err


def test_a_short_film_that_the_protocol_refuses_is_not_said_to_be_held(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = write_checkpoint(tmp_path / "best", dataclasses.replace(PROTOCOL, short_video="error"))
    assert windows(refusing, film, "--window", "10s", "--fps", "10") == 1
    err = capsys.readouterr().err
    assert "10 samples where a window takes 100; give a shorter window" in err
    assert "held" not in err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("4", 4), ("4s", 4), (".5 s", 0.5), ("250ms", 0.25), ("1.5min", 90), ("2m", 120), ("1h", 3600)],
)
def test_lengths_of_time_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text, "--window") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1s", "1e3", "nan", "1 fortnight", "s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="positive length of time"):
        seconds_of(text, "--hop")


def test_clocks() -> None:
    assert [clock(s) for s in (0.0, 0.25, 59.999, 61.5, 3600.0, 7325.126)] == [
        "0:00.00",
        "0:00.25",
        "1:00.00",
        "1:01.50",
        "1:00:00.00",
        "2:02:05.13",
    ]
