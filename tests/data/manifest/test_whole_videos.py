"""Training on annotated segments, validation and test on whole videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import layout_examples
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.whole_videos import with_whole_videos
from tubelet.recipe import list_recipes, load_recipe


def row(path: str, label: str, split: str, start: float | None, end: float | None) -> Row:
    return Row(path=path, labels=(label,), split=split, start_seconds=start, end_seconds=end)


ROWS = [
    row("a.mp4", "jump", "train", 1.0, 2.0),
    row("b.mp4", "run", "val", 0.0, 3.0),
    row("a.mp4", "jump", "train", 4.0, 5.0),
    row("c.mp4", "run", "test", 0.0, 3.0),
    row("c.mp4", "jump", "test", 3.0, 5.0),
    row("c.mp4", "jump", "test", 6.0, 8.5),
    row("b.mp4", "run", "val", 5.0, 6.0),
    row("d.mp4", "run", "test", None, None),
]


@pytest.mark.parametrize("multi_label", [False, True])
def test_outside_train_a_video_is_one_row_from_its_beginning_to_its_end(multi_label: bool) -> None:
    """Of several labels it keeps the one with the most seconds, or all where a video may have several."""
    notes: list[str] = []
    rows = with_whole_videos(ROWS, notes, multi_label=multi_label)
    of_c = ("run", "jump") if multi_label else ("jump",)
    assert [(r.path, r.labels, r.split, r.start_seconds, r.end_seconds) for r in rows] == [
        ("a.mp4", ("jump",), "train", 1.0, 2.0),
        ("b.mp4", ("run",), "val", None, None),
        ("a.mp4", ("jump",), "train", 4.0, 5.0),
        ("c.mp4", of_c, "test", None, None),
        ("d.mp4", ("run",), "test", None, None),
    ]
    (note,) = notes
    assert note.startswith("test_whole_video: 5 segments outside train are 3 whole videos; 1 videos have")
    assert with_whole_videos(rows, notes, multi_label=multi_label) == rows
    assert notes == [note]


@pytest.mark.parametrize("layout", ["activitynet", "hacs"])
def test_a_layout_and_the_manifest_that_was_written_of_it_give_the_same_rows(tmp_path: Path, layout: str) -> None:
    root = layout_examples.activitynet(tmp_path / "data")
    file = root / "activity_net.v1-3.min.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["database"]["vvv"]["annotations"].append({"label": "Discus throw", "segment": [5.0, 9.0]})
    file.write_text(json.dumps(content), encoding="utf-8")
    config = ManifestConfig(layout=layout)  # type: ignore[arg-type]
    segments = read_manifest(root, config)
    whole = read_manifest(root, ManifestConfig(layout=layout, test_whole_video=True))  # type: ignore[arg-type]
    assert len(segments.split("val")) == 2
    (sample,) = whole.split("val").samples
    assert (sample.path, sample.start_seconds, sample.end_seconds) == ("vvv.mkv", None, None)
    assert whole.split("train").samples == segments.split("train").samples
    write_manifest(segments, root / "segments.csv")
    again = read_manifest(root / "segments.csv", ManifestConfig(layout=layout, test_whole_video=True))  # type: ignore[arg-type]
    assert again.samples == whole.samples
    assert not any("files changed" in note for note in again.notes)


def test_the_recipes_of_annotated_segments_test_on_whole_videos() -> None:
    names = [name for name in list_recipes() if name.startswith(("activitynet/", "hacs/"))]
    assert len(names) == 4
    assert all(load_recipe(name).data.manifest.test_whole_video for name in names)
