"""Every layout reads an example of its official form, keeps it through the manifest file, and refuses bad lines."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from layout_examples import EXAMPLES, Example, Rows
from support import assert_one_line
from tubelet.data.layouts.config import EXPECTED_FILES, ManifestConfig
from tubelet.data.layouts.readers import LAYOUTS
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError

LINED = [example for example in EXAMPLES if example.says]


def name(example: Example) -> str:
    return f"{example.layout}-{example.write.__name__}"


def config_of(example: Example, root: Path, **more: Any) -> ManifestConfig:
    options = dict(example.options)
    if "class_file" in options:
        options["class_file"] = root / str(options["class_file"])
    return ManifestConfig(layout=example.layout, val_fraction=0.0, **options, **more)  # type: ignore[arg-type]


def rows_of(manifest: Manifest) -> Rows:
    heads = list(manifest.class_names.values())
    return [
        (
            s.path,
            tuple(names[i] for names, i in zip(heads, s.labels, strict=True)),
            s.split,
            s.start_seconds,
            s.end_seconds,
        )
        for s in manifest.samples
    ]


def test_every_layout_has_an_example() -> None:  # of the others elsewhere
    assert (
        {example.layout for example in EXAMPLES} | {"medmnist3d", "bouts", "unlabeled"}
        == set(LAYOUTS)
        == set(EXPECTED_FILES)
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_an_example_becomes_its_rows(example: Example, tmp_path: Path) -> None:
    manifest = read_manifest(example.write(tmp_path), config_of(example, tmp_path))
    assert rows_of(manifest) == example.rows
    assert manifest.class_names == example.classes
    assert list(manifest.class_names) == list(example.classes)


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_a_written_manifest_reads_back_equal(example: Example, tmp_path: Path) -> None:
    manifest = read_manifest(example.write(tmp_path), config_of(example, tmp_path))
    for place in (tmp_path / "m.csv", tmp_path.parent / f"{tmp_path.name}-elsewhere" / "m.csv"):
        place.parent.mkdir(exist_ok=True)
        write_manifest(manifest, place)
        again = read_manifest(place)
        assert again == manifest
        assert again.fingerprint == manifest.fingerprint
        assert again.notes == manifest.notes


@pytest.mark.parametrize("example", LINED, ids=name)
def test_a_malformed_line_is_refused_by_its_number_or_left_out(example: Example, tmp_path: Path) -> None:
    source = example.write(tmp_path)
    whole = len(read_manifest(source, config_of(example, tmp_path), is_checked=False))
    file, line, content = example.spoil
    lines = (tmp_path / file).read_text(encoding="utf-8").split("\n")
    lines[line - 1] = content
    (tmp_path / file).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_manifest(source, config_of(example, tmp_path))
    assert_one_line(caught, str(tmp_path / file), *example.says)
    left = read_manifest(source, config_of(example, tmp_path, skip_malformed=True), is_checked=False)
    assert whole - 1 <= len(left) <= whole
    assert any("1 malformed rows" in note and f"line {line}" in note for note in left.notes)


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.layout in ("kinetics", "activitynet", "moments-in-time")], ids=name
)
def test_videos_that_are_gone_are_counted_and_named(example: Example, tmp_path: Path) -> None:
    manifest = read_manifest(example.write(tmp_path), config_of(example, tmp_path))
    assert len(manifest.missing) == 1
    assert "gone" in manifest.missing[0]
    assert any("1 files are missing" in note and "gone" in note for note in manifest.notes)


def test_lists_whose_videos_are_all_gone_are_refused(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "kinetics")
    root = example.write(tmp_path)
    for file in root.rglob("*_0000*.m*"):
        file.unlink()
    with pytest.raises(DataError) as caught:
        read_manifest(root, config_of(example, tmp_path))
    assert_one_line(caught, "none of its 4 files exists", "_000000_000010")


def test_other_lists_refuse_missing_videos_unless_told(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "hmdb51")
    root = example.write(tmp_path)
    (root / "brush_hair/b.avi").unlink()
    (root / "wave/b.avi").rename(root / "wave/other.avi")
    (root / "splits/wave_test_split1.txt").write_text("other.avi 1\n")
    with pytest.raises(DataError) as caught:
        read_manifest(root, config_of(example, tmp_path))
    assert_one_line(caught, "1 of its files do not exist", "b", "skip_missing")
    kept = read_manifest(root, config_of(example, tmp_path, skip_missing=True))
    assert [sample.path for sample in kept.samples] == ["brush_hair/April 09_a#1.avi", "wave/other.avi"]


def test_what_a_list_publishes_without_labels_is_noted(tmp_path: Path) -> None:
    for layout, count in (("something-something-v2", 1), ("something-something-v1", 1), ("activitynet", 1)):
        example = next(example for example in EXAMPLES if example.layout == layout)
        (tmp_path / layout).mkdir()
        notes = read_manifest(example.write(tmp_path / layout), config_of(example, tmp_path / layout)).notes
        assert any(f"{count} videos without" in note for note in notes)


def test_frame_folders_get_the_rate_that_is_known(tmp_path: Path) -> None:
    rates = {}
    for layout in ("epic-kitchens-100", "something-something-v1"):
        example = next(example for example in EXAMPLES if example.layout == layout)
        (tmp_path / layout).mkdir()
        manifest = read_manifest(example.write(tmp_path / layout), config_of(example, tmp_path / layout))
        rates[layout] = {sample.fps for sample in manifest.samples}
    assert rates == {"epic-kitchens-100": {None, 50.0}, "something-something-v1": {12.0}}


def test_epic_frame_folders_of_unknown_rate_are_refused(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "epic-kitchens-100")
    root = example.write(tmp_path)
    (root / "a/EPIC_100_video_info.csv").unlink()
    with pytest.raises(DataError) as caught:
        read_manifest(root, config_of(example, tmp_path))
    assert_one_line(caught, "line 4", "the frame rate of P02_101 is not known", "frame_fps")
    assert {s.fps for s in read_manifest(root, config_of(example, tmp_path, frame_fps=60.0)).samples} == {None, 60.0}


def test_epic_without_class_files_has_all_classes_by_number(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "epic-kitchens-100")
    root = example.write(tmp_path)
    for head in ("noun", "verb"):
        (root / f"a/EPIC_100_{head}_classes.csv").unlink()
    manifest = read_manifest(root, config_of(example, tmp_path))
    assert [len(names) for names in manifest.class_names.values()] == [300, 97]
    assert manifest.samples[0].labels == (2, 1)


def test_all_malformed_lines_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.mp4 0\n" + "no-label\n" * 5)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "list.txt", ManifestConfig(layout="list"))
    assert_one_line(caught, "5 malformed rows; line 2", "line 3", "line 4", "and 2 more")
    assert "line 5" not in str(caught.value)


def test_splits_are_named_by_the_file_or_by_the_user(tmp_path: Path) -> None:
    for file, label in (("one.txt", 0), ("two.txt", 1), ("three.txt", 1)):
        (tmp_path / file).write_text(f"{file}.mp4 {label}\n")
        (tmp_path / f"{file}.mp4").touch()
    files = tuple(f"{split}={tmp_path / file}" for split, file in (("train", "one.txt"), ("train", "two.txt")))
    config = ManifestConfig(layout="list", annotations=(*files, f"val={tmp_path / 'three.txt'}"))
    assert [sample.split for sample in read_manifest(tmp_path, config).samples] == ["train", "train", "val"]
    mixed = dataclasses.replace(config, annotations=(*files, str(tmp_path / "three.txt")))
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path, mixed)
    assert_one_line(caught, "1 of 3 rows belong to no split", "SPLIT=FILE")


def test_an_official_split_may_test_a_class_that_it_never_trains(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "moments-in-time")
    root = example.write(tmp_path)
    with (root / "moments_categories.txt").open("a") as file:
        file.write("juggling,2\n")
    with (root / "validationSet.csv").open("a") as file:
        file.write("juggling/j.mp4,juggling,3,0\n")
    (root / "validation/juggling").mkdir()
    (root / "validation/juggling/j.mp4").touch()
    manifest = read_manifest(root, config_of(example, tmp_path))
    assert manifest.split("val").class_counts()["juggling"] == 1
    assert any("'juggling' of the val split has no training rows" in note for note in manifest.notes)


def test_without_a_rate_a_frame_list_counts_in_frames(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.write.__name__ == "rawframes")
    config = dataclasses.replace(config_of(example, example.write(tmp_path)), frame_fps=None)
    manifest = read_manifest(tmp_path, config)
    assert [(s.start_seconds, s.end_seconds, s.fps) for s in manifest.samples][:2] == [(None, 3, None), (12, 18, None)]
    assert any("frame numbers stand for seconds" in note for note in manifest.notes)


def test_a_name_in_several_folders_is_found_in_its_class_or_noted(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.layout == "kinetics")
    root = example.write(tmp_path)
    (root / "val/copy").mkdir()
    (root / "val/copy/---v_000059_000069.mp4").touch()
    (root / "val/up").symlink_to(root)  # a link that leads back
    notes = read_manifest(root, config_of(example, tmp_path)).notes
    assert any("1 names stand for several files" in note and "---v_000059_000069" in note for note in notes)
