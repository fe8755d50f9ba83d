"""``tubelet predict``: files, folders and globs; a bad one stops no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import content_of, error_of, rows_of
from tubelet import cli, load
from tubelet.data.layouts.find_files import find_files
from tubelet.data.video.reader import VideoReader


@pytest.fixture
def footage(videos: Path, tmp_path: Path) -> Path:
    """a.mp4 and deep/er/b.MP4, with files beside them that are no videos."""
    folder = tmp_path / "footage"
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(videos / "test" / "left" / "0000.mp4", folder / "a.mp4")
    shutil.copy(videos / "test" / "right" / "0000.mp4", folder / "deep" / "er" / "b.MP4")
    (folder / "notes.txt").write_text("not a video")
    (folder / "deep" / "._b.mp4").write_text("what a Mac leaves beside b.mp4")
    return folder


def predict(checkpoint: Path, *arguments: str | Path) -> int:
    return cli.main(["predict", str(checkpoint), *map(str, arguments), "--num-workers", "0", "--device", "cpu"])


def test_files_folders_and_globs_are_found_once_and_in_order(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(footage)
    a, b = Path("a.mp4"), Path("deep/er/b.MP4")
    assert find_files([str(footage)]) == [footage / a, footage / b]
    assert find_files(["deep", "a.mp4"]) == [b, a]
    assert find_files(["**/*.MP4", "*.mp4"]) == [b, a]
    assert find_files(["a.mp4", "a*.mp4", "a.mp4"]) == [a]
    assert find_files(["notes.txt"]) == [Path("notes.txt")]  # named by hand: the reader says what it is


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(footage: Path) -> None:
    file = footage / "a[1].mp4"
    (footage / "a.mp4").rename(file)
    assert find_files([str(file)]) == [file]


def test_a_folder_of_volumes_is_predicted(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((8, 20, 20), dtype=np.uint8))
    assert predict(checkpoint, tmp_path, "--json") == 0
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert prediction["source"] == str(tmp_path / "scan.npy")


@pytest.fixture
def frames(videos: Path, tmp_path: Path) -> Path:
    """The pictures of a video of 10 frames per second, lossless."""
    folder = tmp_path / "frames" / "left"
    folder.mkdir(parents=True)
    with VideoReader(videos / "test" / "left" / "0000.mp4") as reader:
        for number, picture in enumerate(reader.frames_at(range(10)).pixels, 1):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"img_{number:05d}.png")
    return folder


@pytest.mark.parametrize("timing", [(), ("--protocol.target_fps", "5", "--protocol.frame_stride", "None")])
@pytest.mark.parametrize("place", ["itself", "its parent", "a glob"])
def test_a_frame_folder_gives_the_prediction_of_its_video(
    checkpoint: Path,
    videos: Path,
    frames: Path,
    capsys: pytest.CaptureFixture[str],
    timing: tuple[str, ...],
    place: str,
) -> None:
    source = {"itself": frames, "its parent": frames.parent, "a glob": frames.parent / "l*"}[place]
    assert predict(checkpoint, source, videos / "test/left/0000.mp4", "--frame-fps", "10", "--json", *timing) == 0
    of_folder, of_video = json.loads(capsys.readouterr().out)["predictions"]
    assert of_folder["source"] == str(frames)
    assert of_folder["probs"] == pytest.approx(of_video["probs"], abs=0.01)  # the video is scaled before it is RGB
    same = {"source": "", "probs": []}
    assert {**of_folder, **same} == {**of_video, **same}
    if not timing:
        assert list(load(checkpoint, "cpu").predict(frames, fps=10.0).probs)[:5] == of_folder["probs"]


def test_windows_and_streams_of_a_frame_folder_are_those_of_its_video(
    checkpoint: Path, videos: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = videos / "test" / "left" / "0000.mp4"
    options = ["--window", "400ms", "--json", "--device", "cpu"]
    assert cli.main(["predict", str(checkpoint), str(frames), str(video), "--frame-fps", "10", *options]) == 0
    of_folder, of_video = (film["segments"] for film in json.loads(capsys.readouterr().out)["films"])
    assert of_folder == of_video
    options += ["--frame-fps", "10", "--top-k", "8"]
    assert cli.main(["stream", str(checkpoint), str(frames), *options]) == 0
    streamed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [segment["labels"][0] for segment in streamed] == [segment["labels"][0] for segment in of_folder]
    assert streamed[0]["probs"][0] == pytest.approx(of_folder[0]["probs"][0], abs=1e-6)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (
            "predict",
            ["FRAMES", "--protocol.target_fps", "5", "--protocol.frame_stride", "None"],
            "rate of this frame folder",
        ),
        ("predict", ["FRAMES", "--window", "400ms"], "--frame-fps"),
        ("predict", ["FRAMES", "--fps", "10"], "the rate of a frame folder is --frame-fps"),
        ("predict", ["FRAMES", "--frame-fps", "0"], "--frame-fps must be positive"),
        ("predict", ["VIDEO", "--frame-fps", "10"], "none is given; leave it out"),
        ("stream", ["FRAMES"], "give its frames per second with --frame-fps"),
        ("stream", ["VIDEO", "--frame-fps", "10"], "none is given; leave it out"),
    ],
)
def test_the_rate_of_a_frame_folder_is_asked_for_and_refused_elsewhere(
    checkpoint: Path,
    videos: Path,
    frames: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: list[str],
    message: str,
) -> None:
    words = {"FRAMES": str(frames), "VIDEO": str(videos / "test" / "left" / "0000.mp4")}
    code = cli.main([command, str(checkpoint), *(words.get(word, word) for word in arguments), "--device", "cpu"])
    assert code == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_pictures_beside_videos_are_no_frame_folder(footage: Path) -> None:
    Image.new("RGB", (8, 8)).save(footage / "cover_1.jpg")
    Image.new("RGB", (8, 8)).save(footage / "deep" / "1.jpg")
    assert [path.name for path in find_files([str(footage)])] == ["a.mp4", "b.MP4"]


def test_json_holds_what_the_library_says(checkpoint: Path, footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(checkpoint, footage, "--json", "--top-k", "3") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == []
    classifier = load(checkpoint, "cpu")
    for row, file in zip(found["predictions"], (footage / "a.mp4", footage / "deep" / "er" / "b.MP4"), strict=True):
        expected = classifier.predict(file, top_k=3)
        assert (row["source"], row["labels"], row["num_views"]) == (str(file), list(expected.labels), 6)
        assert row["probs"] == pytest.approx(expected.probs, abs=1e-6)
        assert (row["seconds_covered"], row["notes"]) == (pytest.approx(0.9), [])


def test_the_table_names_file_labels_views_and_what_was_looped(
    checkpoint: Path, footage: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    np.save(footage / "short.npy", np.zeros((5, 20, 20), dtype=np.uint8))
    assert predict(checkpoint, footage, "--top-k", "2") == 0
    out = capsys.readouterr().out
    best = load(checkpoint, "cpu").predict(footage / "a.mp4", top_k=2)
    assert ", ".join(f"{label} {prob:.1%}" for label, prob in zip(best.labels, best.probs, strict=True)) in out
    assert "6 views" in out
    assert "video has 5 frames, the clip spans 7: looped" in out


def test_csv_holds_one_row_per_video_and_label(checkpoint: Path, footage: Path, tmp_path: Path) -> None:
    assert predict(checkpoint, footage, "--csv", tmp_path / "out.csv", "--top-k", "100") == 0
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["path", "rank", "label", "probability", "seconds_covered", "num_views", "notes"]
    assert [int(row["rank"]) for row in rows] == [*range(1, 9), *range(1, 9)]
    expected = load(checkpoint, "cpu").predict(footage / "a.mp4")
    assert tuple(row["label"] for row in rows[:8]) == expected.labels
    assert [float(row["probability"]) for row in rows[:8]] == pytest.approx(expected.probs, abs=1e-6)


def test_a_bad_file_is_one_line_and_exit_code_1_and_the_others_are_predicted(
    checkpoint: Path, footage: Path, tmp_path: Path
) -> None:
    """As a user starts it, with reader processes."""
    (footage / "b-broken.mp4").write_text("not a video")
    (footage / "c-empty.mp4").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "tubelet", "predict", checkpoint, footage, "--csv", tmp_path / "out.csv", "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    good, bad = ["a.mp4", "deep/er/b.MP4"], ["b-broken.mp4", "c-empty.mp4"]
    for name in bad:
        assert sum(str(footage / name) in line for line in done.stderr.splitlines()) == 1
    assert done.stderr.splitlines()[-1] == "tubelet: error: 2 of 4 files could not be read"
    found = json.loads(done.stdout)
    assert [row["source"] for row in found["predictions"]] == [str(footage / name) for name in good]
    assert [str(footage / name) in line for name, line in zip(bad, found["errors"], strict=True)] == [True, True]
    assert {row["path"] for row in rows_of(tmp_path / "out.csv")} == {str(footage / name) for name in good}


def test_a_file_that_begins_with_a_dash_stands_behind_two_dashes(
    checkpoint: Path, footage: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(footage)
    Path("a.mp4").rename("-a.mp4")
    argv = ["predict", str(checkpoint), "--json", "--num-workers", "0", "--device", "cpu", "--", "-a.mp4"]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["source"] == "-a.mp4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file, folder or match; videos and volumes end in .264"),
        (["*.mkv"], "*.mkv: no such file, folder or match"),
        (["a.mp4", "--top-k", "0"], "top_k must be at least 1, got 0"),
        (["a.mp4", "--top-k", "-2"], "top_k must be at least 1, got -2"),
        (["a.mp4", "--num-workers", "-1"], "num_workers not negative"),
        (["a.mp4", "--csv", "nowhere/out.csv"], "there is no folder nowhere; make it first"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(
    checkpoint: Path,
    footage: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(footage)
    before = content_of(footage)
    assert message in error_of(["predict", str(checkpoint), *arguments, "--device", "cpu"], capsys)
    assert content_of(footage) == before


def test_a_folder_without_videos_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "folder without videos" in error_of(["predict", str(checkpoint), str(tmp_path)], capsys)


def test_no_source_says_what_to_give(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(["predict", str(checkpoint)], capsys)
    assert said == "nothing to predict: give video files, folders or globs behind the checkpoint"
