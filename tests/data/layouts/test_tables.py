"""Tables as people have them: written by pandas, with other columns, clock times, frames, one column per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import PROTOCOL, assert_one_line, touch, write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError

WHOLE = {"val_fraction": 0.0, "test_fraction": 0.0}


def read(root: Path, *rows: str, **options: object) -> Manifest:
    """The manifest of a table whose files exist; the first row names the columns."""
    touch(root, *(f"{i}.mp4" for i in range(4)))
    file = write_csv(root / "table.csv", [row.split(",") for row in rows])
    return read_manifest(file, ManifestConfig(**(WHOLE | options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1"])
def test_the_index_that_pandas_writes_is_no_column(tmp_path: Path, name: str) -> None:
    manifest = read(tmp_path, f"{name},path,label", "0,0.mp4,a", "1,1.mp4,b")
    assert [(row.path, row.labels) for row in manifest.samples] == [("0.mp4", (0,)), ("1.mp4", (1,))]
    assert manifest.notes == ()


def test_columns_that_nothing_reads_are_named_in_one_note(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,lable,label,stat", "0.mp4,x,a,1.5", "1.mp4,y,b,2")
    assert [note for note in manifest.notes if "columns lable, stat" in note] == list(manifest.notes)


def test_files_and_labels_may_stand_in_other_columns(tmp_path: Path) -> None:
    manifest = read(tmp_path, "file,action", "0.mp4,a", "1.mp4,b", path_column="file", label_columns=("action",))
    assert [row.path for row in manifest.samples] == ["0.mp4", "1.mp4"]
    assert manifest.class_names == {"action": ("a", "b")}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12.5", 12.5), ("00:12.5", 12.5), ("75:01", 4501.0), ("1:02:03,25", 3723.25), ("0:00:00", 0.0)],
)
def test_times_are_seconds_or_by_the_clock(tmp_path: Path, text: str, seconds: float) -> None:
    touch(tmp_path, "0.mp4", "1.mp4")
    table = write_csv(tmp_path / "t.csv", [["path", "label", "start"], ["0.mp4", "a", text], ["1.mp4", "b", ""]])
    manifest = read_manifest(table, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    assert [row.start_seconds for row in manifest.samples] == [seconds, None]


@pytest.mark.parametrize("text", ["1:75:00", "00:60", "-0:05", "1:2:3:4", "12s"])
def test_what_is_no_time_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "path,label,start", f"0.mp4,a,{text}", "1.mp4,b,")
    assert_one_line(caught, f"line 2: '{text}' is not a time in seconds")


def test_segments_in_frames_show_exactly_those_frames(tmp_path: Path) -> None:
    """Of frames that appear at uneven times too, which seconds made of a rate would miss."""
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.arange(40, dtype=np.uint8)[:, None, None].repeat(24, 1).repeat(24, 2))
    rows = [["0.npy", "a", 10, 14], ["1.npy", "b", "", "4.0"], ["0.npy", "a", 36, ""]]
    table = write_csv(tmp_path / "t.csv", [["path", "label", "start_frame", "end_frame"], *rows])
    manifest = read_manifest(table, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    dataset = ClipDataset(manifest, PROTOCOL, "views")
    shown = [set(dataset.read(row).pixels.unique().tolist()) for row in range(3)]
    assert shown == [{10, 12}, {0, 2}, {36, 38}]
    assert dataset.name(0).endswith("0.npy [frames 10-14]")
    write_manifest(manifest, tmp_path / "written.csv")
    again = read_manifest(tmp_path / "written.csv")
    assert (again.samples, again.fingerprint) == (manifest.samples, manifest.fingerprint)


def test_frames_that_the_source_does_not_have_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((8, 24, 24), np.uint8))
    np.save(tmp_path / "1.npy", np.ones((8, 24, 24), np.uint8))
    rows = [["0.npy", "a", 8, 12], ["1.npy", "b", 0, 4]]
    table = write_csv(tmp_path / "t.csv", [["path", "label", "start_frame", "end_frame"], *rows])
    manifest = read_manifest(table, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    with pytest.raises(DataError, match="starts at frame 8, but there are 8 frames"):
        ClipDataset(manifest, PROTOCOL, "views").read(0)


def test_seconds_come_before_frames(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,label,start,start_frame", "0.mp4,a,2,50", "1.mp4,b,,25")
    assert [row.segment for row in manifest.samples] == [(2.0, None, None, None), (None, None, 25, None)]


def test_a_column_per_class_is_one_label_per_row(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,dog,cat,meters", "0.mp4,1,0,3", "1.mp4,0,1,1", "2.mp4,0,1,7")
    assert (manifest.class_names, manifest.multi_label) == ({"label": ("cat", "dog")}, False)
    assert [row.labels for row in manifest.samples] == [(1,), (0,), (0,)]
    assert "2 columns hold 0 and 1 and are read as classes, one label per video: cat, dog" in manifest.notes
    assert any("column meters" in note for note in manifest.notes)


def test_several_marks_in_a_row_are_several_labels(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,dog,cat|kitten", "0.mp4,1,1", "1.mp4,0,0", "2.mp4,1.0,False")
    assert (manifest.class_names, manifest.multi_label) == ({"label": ("cat|kitten", "dog")}, True)
    assert [row.labels for row in manifest.samples] == [(0, 1), (), (1,)]


def test_fingerprints_of_data_without_frames_are_those_of_earlier_versions(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,label", "0.mp4,a", "1.mp4,b")
    assert repr(manifest.samples[0]) == (
        "Sample(path='0.mp4', labels=(0,), split='train', start_seconds=None, end_seconds=None, fps=None, entry=None)"
    )
