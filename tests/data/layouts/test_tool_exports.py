"""Exports of CVAT and Label Studio: frames of stretches, several labels, and refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layout_examples import cvat, label_studio
from support import touch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.tools.cvat import read_cvat
from tubelet.data.layouts.tools.label_studio import read_label_studio
from tubelet.errors import DataError


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
