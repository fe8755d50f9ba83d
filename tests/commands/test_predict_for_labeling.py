"""``tubelet predict --label-studio --fiftyone``: files that two labeling tools import say what the table says."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import error_of
from tubelet import cli
from tubelet.report.labeling_tools import fiftyone_labels, label_studio, label_studio_config
from tubelet.types import HeadScores, Prediction


def predict(checkpoint: Path, *arguments: str | Path) -> int:
    return cli.main(["predict", str(checkpoint), *map(str, arguments), "--device", "cpu"])


def test_label_studio_gets_the_best_label_of_a_video_and_a_configuration_that_knows_it(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tasks.json"
    assert predict(checkpoint, film, "--label-studio", file, "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    (task,) = json.loads(file.read_text(encoding="utf-8"))
    (prediction,) = task["predictions"]
    (region,) = prediction["result"]
    assert task["data"] == {"video": str(film)}
    assert region["value"] == {"choices": printed["labels"][:1]}
    assert prediction["score"] == region["score"] == printed["probs"][0]
    config = ElementTree.fromstring((tmp_path / "tasks.config.xml").read_text(encoding="utf-8"))
    control = config.find("Choices")
    assert control is not None
    assert (control.get("name"), control.get("toName")) == (region["from_name"], region["to_name"])
    assert set(printed["labels"]) <= {choice.get("value") for choice in control}


def test_both_tools_get_the_windows_of_a_film(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks, labels = tmp_path / "tasks.json", tmp_path / "labels.json"
    asked = (film, "--window", "400ms", "--fps", "10", "--label-studio", tasks, "--fiftyone", labels)
    assert predict(checkpoint, *asked, "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["films"]
    (task,) = json.loads(tasks.read_text(encoding="utf-8"))
    assert task["data"] == {"video": str(film), "fps": 10.0}
    regions = [region["value"] for region in task["predictions"][0]["result"]]
    # Windows of 4 frames, the last moved back to the end: first and last frame of each, counted from 1.
    assert [region["ranges"] for region in regions] == [
        [{"start": 1, "end": 4}],
        [{"start": 5, "end": 8}],
        [{"start": 7, "end": 10}],
    ]
    assert [region["timelinelabels"] for region in regions] == [s["labels"][:1] for s in printed["segments"]]
    found = json.loads(labels.read_text(encoding="utf-8"))["labels"][str(film.resolve())]
    assert [(f["label"], f["timestamps"], f["confidence"]) for f in found] == [
        (s["labels"][0], [s["start_seconds"], s["end_seconds"]], s["probs"][0]) for s in printed["segments"]
    ]
    assert 'frameRate="$fps"' in (tmp_path / "tasks.config.xml").read_text(encoding="utf-8")


def test_several_heads_have_a_tag_each_and_several_labels_are_those_at_least_half_probable() -> None:
    heads = {
        "verb": HeadScores(labels=("open", "close"), probs=(0.9, 0.1)),
        "noun": HeadScores(labels=("door",), probs=(0.6,)),
    }
    scored = Prediction(
        source="a.mp4", labels=("open + door",), probs=(0.54,), num_views=1, seconds_covered=1.0, heads=heads
    )
    (task,) = label_studio([scored], "m")
    regions = task["predictions"][0]["result"]
    assert [(r["from_name"], r["value"]["choices"]) for r in regions] == [("verb", ["open"]), ("noun", ["door"])]
    assert task["predictions"][0]["score"] == 0.6  # of the least sure head
    several = Prediction(source="a", labels=("x", "y", "z"), probs=(0.8, 0.5, 0.4), num_views=1, seconds_covered=1.0)
    (task,) = label_studio([several], "m", multi_label=True)
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["x", "y"]}
    assert fiftyone_labels([]) == {"classes": None, "labels": {}}


def test_class_names_with_markup_stay_names() -> None:
    names = ('a "b" <c> & d', "e")
    text = label_studio_config({"label": names}, is_timeline=True, multi_label=False)
    control = ElementTree.fromstring(text).find("TimelineLabels")
    assert control is not None
    assert tuple(label.get("value") for label in control) == names


def test_a_file_that_cannot_be_written_or_makes_no_sense_is_one_line_and_nothing_is_predicted(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("--fiftyone", tmp_path / "l.json"), "--fiftyone writes stretches of time; give --window"),
        (("--label-studio", tmp_path / "no" / "t.json"), "there is no folder"),
        (("--label-studio", film), "is one of the files to predict"),
        (("--csv", tmp_path / "x", "--label-studio", tmp_path / "x"), "--csv and --label-studio are the same file"),
    ]
    for arguments, message in cases:
        argv = ["predict", str(checkpoint), str(film), *map(str, arguments), "--device", "cpu"]
        assert message in error_of(argv, capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4"]
