"""Exports of CVAT, Label Studio and Roboflow: frames of stretches, several labels, and refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layout_examples import cvat, label_studio, roboflow, roboflow_table
from support import touch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.tools.cvat import read_cvat
from tubelet.data.layouts.tools.label_studio import read_label_studio
from tubelet.data.layouts.tools.roboflow import read_roboflow
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError


def frames(rows: list[object]) -> list[tuple[object, ...]]:
    return [(row.labels, row.start_frame, row.end_frame) for row in rows]  # type: ignore[attr-defined]


def test_stretches_of_cvat_have_the_frames_of_their_video(tmp_path: Path) -> None:
    rows = read_cvat(cvat(tmp_path), ManifestConfig(layout="cvat")).rows
    assert frames(list(rows)) == [(("run",), 10, 16), (("run",), 18, 20), (("sit",), 16, 18), (("sit",), 3, 5)]


def test_ranges_of_label_studio_have_the_frames_of_their_video(tmp_path: Path) -> None:
    read = read_label_studio(label_studio(tmp_path), ManifestConfig(layout="label-studio"))
    assert frames(list(read.rows)) == [(("walk",), None, None), (("run",), 0, 25), (("walk",), 25, 30)]
    assert read.notes == ["2 tasks without a label left out"]


def test_several_choices_are_several_labels_and_a_second_annotation_is_said(tmp_path: Path) -> None:
    result = [{"type": "choices", "value": {"choices": ["walk", "talk"]}}]
    other = [{"type": "choices", "value": {"choices": ["walk"]}}]
    task = {"data": {"clip": "a.mp4"}, "annotations": [{"result": result}, {"result": other}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    touch(tmp_path, "a.mp4")
    read = read_label_studio(tmp_path, ManifestConfig(layout="label-studio"))
    assert [row.labels for row in read.rows] == [("walk", "talk")]
    assert [len(row.labels) for row in read_manifest(tmp_path, ManifestConfig(layout="label-studio")).samples] == [2]
    assert read.label_separator == "|"
    assert "annotated more than once" in read.notes[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("<annotations><meta><project/></meta></annotations>", "is the export of a project; export its tasks"),
        ("<html/>", "begins with <html>; expected <annotations>"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "it defines entities"),
        ("<annotations><meta><task/></meta></annotations>", "names no video"),
        ("<annotations>", "cannot be read as XML"),
    ],
)
def test_what_is_no_export_of_a_cvat_task_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "annotations.xml").write_text(content)
    with pytest.raises(DataError, match=says):
        read_cvat(tmp_path, ManifestConfig(layout="cvat"))


ROBOFLOW = ManifestConfig(layout="roboflow", frame_fps=2.0, val_fraction=0.0)


def test_several_classes_of_a_frame_of_roboflow_are_several_labels(tmp_path: Path) -> None:
    manifest = read_manifest(roboflow_table(tmp_path), ROBOFLOW)
    names = manifest.class_names["label"]
    assert names == ("talk", "walk")
    rows = [(s.path, {names[i] for i in s.labels}, s.split, s.start_seconds, s.end_seconds) for s in manifest.samples]
    assert rows == [
        ("day1.mp4", {"walk"}, "train", 0.0, 0.5),
        ("day1.mp4", {"walk", "talk"}, "train", 0.5, 1.5),
        ("night.mov", {"talk"}, "val", 1.5, 2.0),
    ]


def test_pictures_of_no_video_are_said_and_splits_that_part_a_video_are_not_used(tmp_path: Path) -> None:
    (note,) = read_roboflow(roboflow(tmp_path), ROBOFLOW).notes
    assert "1 pictures are no frames of a video and are left out: portrait_jpg.rf.c.jpg" in note
    touch(tmp_path, "valid/walk/day1_mp4-3_jpg.rf.d.jpg")
    read = read_roboflow(tmp_path, ROBOFLOW)
    assert {(row.split, row.group) for row in read.rows} == {(None, "films/day1.mp4"), (None, "films/night.mov")}
    assert (read.rows[0].start_seconds, read.rows[0].end_seconds) == (0.0, 2.5)  # the frame that was in valid, too
    assert "1 of 2 videos have frames in several splits" in read.notes[-1]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("train/sit/day1_mp4-0_jpg.rf.x.jpg", "", "says walk, and .*, the same frame, sit; give a frame one"),
        ("train/_annotations.coco.json", "{}", "boxes and masks are not read"),
        ("train/_classes.csv", "filename, walk\nday1_mp4-0_jpg.rf.a.jpg, yes\n", "line 2: 'yes' is neither 0 nor 1"),
        ("train/_classes.csv", "filename, walk\na.jpg, 1\n", None),
    ],
)
def test_what_is_no_export_of_classes_by_roboflow_is_refused(
    file: str, content: str, says: str | None, tmp_path: Path
) -> None:
    if says is None:
        (tmp_path / "train").mkdir()
        says = "none of its 1 pictures is a frame of a video"
    else:
        roboflow(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=says):
        read_roboflow(tmp_path, ROBOFLOW)
    with pytest.raises(ConfigError, match=r"set frame_fps \(--manifest.frame_fps\) to the rate"):
        read_roboflow(tmp_path, ManifestConfig(layout="roboflow"))


def test_an_export_of_roboflow_is_known_by_its_readme(tmp_path: Path) -> None:
    roboflow(tmp_path)
    (tmp_path / "README.roboflow.txt").write_text("exported")
    manifest = read_manifest(tmp_path, ManifestConfig(frame_fps=2.0, val_fraction=0.0))
    assert (manifest.layout, len(manifest)) == ("roboflow", 4)
