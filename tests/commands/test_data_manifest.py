"""``tubelet data manifest``: any layout to one file that training reads, and a report that programs read too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layout_examples import EXAMPLES
from support import TRAIN_TINY, error_of
from tubelet import cli
from tubelet.data.layouts.config import EXPECTED_FILES
from tubelet.data.manifest.read import read_manifest


def report_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.main(["data", "manifest", *argv, "--json"]) == 0
    report: dict[str, object] = json.loads(capsys.readouterr().out)
    return report


def test_the_report_counts_rows_classes_and_seconds(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new/motion.csv"
    report = report_of(["folders", str(videos), "--out", str(out)], capsys)
    manifest = read_manifest(out)
    assert report["splits"] == {"train": 16, "val": 8, "test": 16}
    assert report["num_rows"] == 40
    assert report["classes"] == {"label": list(manifest.class_names["label"])}
    assert report["class_counts"]["label"]["test"] == manifest.split("test").class_counts()  # type: ignore[index]
    assert report["fingerprint"] == manifest.fingerprint == read_manifest(videos).fingerprint
    durations = report["durations"]
    assert isinstance(durations, dict)
    assert (durations["num_known"], durations["unreadable"]) == (40, [])
    assert durations["total_seconds"] == pytest.approx(40, abs=0.5)  # 10 frames at 10 per second each
    assert durations["min_seconds"] == durations["median_seconds"] == durations["max_seconds"] == pytest.approx(1)


def test_people_get_tables(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.csv"
    assert cli.main(["data", "manifest", "folders", str(videos), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "label: 8 classes" in text
    assert "rows         40 (train 16, val 8, test 16), 0 missing" in text
    assert "40 of 40 rows; min 1.00 s, median 1.00 s, max 1.00 s" in text
    assert f"fingerprint  {read_manifest(videos).fingerprint}" in text
    assert str(out) in text


def test_a_written_manifest_trains(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "manifest", "folders", str(videos), "--out", "m.csv", "--no-durations"]) == 0
    assert cli.main(["train", *TRAIN_TINY, "--data", "m.csv", "--out", "run"]) == 0
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["data_fingerprint"] == read_manifest(videos).fingerprint


def test_missing_videos_are_listed_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = next(example for example in EXAMPLES if example.layout == "kinetics")
    root, gone = example.write(tmp_path), tmp_path / "gone.txt"
    report = report_of(["kinetics", str(root), "--missing", str(gone), "--no-durations"], capsys)
    assert (report["num_missing"], report["durations"]) == (1, None)
    assert gone.read_text() == "gone_000001_000011\n"


def test_segments_and_frames_have_durations_without_opening_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = next(example for example in EXAMPLES if example.layout == "epic-kitchens-100")
    report = report_of(["epic-kitchens-100", str(example.write(tmp_path))], capsys)
    durations = report["durations"]
    assert isinstance(durations, dict)
    assert durations["total_seconds"] == pytest.approx(3.23 + 0.5 + 1 + 1)
    assert durations["unreadable"] == []


def test_frame_numbers_are_not_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = next(example for example in EXAMPLES if example.write.__name__ == "rawframes")
    root, names = example.write(tmp_path), str(tmp_path / "names.txt")
    argv = ["list", str(root), "--class-file", names, "--val-fraction", "0"]
    for rate, known in ((), 0), (("--frame-fps", "30"), 3):
        durations = report_of([*argv, *rate], capsys)["durations"]
        assert isinstance(durations, dict)
        assert durations["num_known"] == known


def test_files_that_cannot_be_opened_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = next(example for example in EXAMPLES if example.layout == "hmdb51")
    durations = report_of(["hmdb51", str(example.write(tmp_path))], capsys)["durations"]
    assert isinstance(durations, dict)
    assert len(durations["unreadable"]) == 3
    assert durations["num_known"] == 0


def test_help_names_every_layout_and_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "manifest", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name, files in EXPECTED_FILES.items():
        assert name in text
        assert files in text


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["kinetics", "nowhere"], "no such folder"),
        (["list", "nowhere"], "no such folder"),
        (["folders", "nowhere"], "no such folder"),
        (["npz", "nowhere.npz"], "no such file"),
        (["medmnist3d", "brainmnist3d.npz"], "no MedMNIST3D set"),
        (["webdataset", "nowhere"], "no .tar files"),
        (["hmdb51", ".", "--annotations", "x.txt"], "no such annotation file"),
        (["ucf101", "."], "no annotation file classInd.txt"),
        (["ucf101", ".", "--official-split", "4"], "official_split must be 1, 2 or 3"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    argv: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert part in error_of(["data", "manifest", *argv, "--out", "m.csv"], capsys)
    assert not (tmp_path / "m.csv").exists()
