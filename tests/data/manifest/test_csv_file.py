"""The written manifest says all that matters, whatever the names are, and does not accept what it did not write."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import assert_one_line, touch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=12)
SECONDS = st.floats(0, 1e6, allow_nan=False)


def manifest_in(root: Path, **heads: tuple[str, ...]) -> Manifest:
    """Two rows of training and one of validation; the second class of each head comes first."""
    touch(root, "a.mp4", "b.mp4", "c.mp4")
    labels = ((1,) * len(heads), (0,) * len(heads), (1,) * len(heads))
    samples = tuple(
        Sample(path=f"{name}.mp4", labels=label, split=split)
        for name, label, split in zip("abc", labels, ("train", "train", "val"), strict=True)
    )
    return Manifest(root=root, samples=samples, class_names=dict(heads), layout="folders")


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(WORDS, min_size=2, max_size=5, unique=True),
    entry=st.none() | WORDS,
    start=st.none() | SECONDS,
    length=st.floats(0.001, 1e6),
    fps=st.none() | st.floats(0.1, 1000),
)
def test_any_row_reads_back_as_it_was(
    names: list[str], entry: str | None, start: float | None, length: float, fps: float | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = touch(Path(folder), "a b,c.mp4", "d.mp4")
        times = {"start_seconds": start, "end_seconds": (start or 0.0) + length, "fps": fps, "entry": entry}
        samples = (
            Sample(path="a b,c.mp4", labels=(1,), split="train", **times),  # type: ignore[arg-type]
            Sample(path="d.mp4", labels=(0,), split="train"),
        )
        manifest = Manifest(root=root, samples=samples, class_names={"label": tuple(names)}, layout="csv")
        write_manifest(manifest, root / "m.csv")
        assert read_manifest(root / "m.csv") == manifest


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path) -> None:
    names = ("yes", "no", "null", "1e-3", "- a", "# b", "a: b", "", " c ", "'d'", '"', "été", "2020-01-01", "x" * 200)
    names = tuple(name for name in names if name)
    manifest = manifest_in(tmp_path, label=names)
    write_manifest(manifest, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv").class_names == {"label": names}


def test_other_programs_read_the_rows(tmp_path: Path) -> None:
    write_manifest(manifest_in(tmp_path, label=("x", "y")), tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [(row["path"], row["split"], row["label"]) for row in rows] == [
        ("a.mp4", "train", "y"),
        ("b.mp4", "train", "x"),
        ("c.mp4", "val", "y"),
    ]


def test_the_folder_of_manifest_and_videos_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    manifest = manifest_in(tmp_path / "one/videos", label=("x", "y"))
    write_manifest(manifest, tmp_path / "one/m.csv")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = read_manifest(tmp_path / "two/m.csv")
    assert moved.root == tmp_path / "two/videos"
    assert moved.fingerprint == read_manifest(tmp_path / "two/m.csv").fingerprint
    (tmp_path / "two/videos").rename(tmp_path / "three")
    with pytest.raises(DataError):
        read_manifest(tmp_path / "two/m.csv")
    assert read_manifest(tmp_path / "two/m.csv", ManifestConfig(root=tmp_path / "three")).samples == manifest.samples


def test_splits_are_not_drawn_again(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path, label=("x", "y"))
    train_only = Manifest(tmp_path, manifest.samples[:2], manifest.class_names, "folders")
    write_manifest(train_only, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", ManifestConfig(val_fraction=0.5)).splits == ("train",)


def test_heads_are_all_there_or_those_that_are_asked_for(tmp_path: Path) -> None:
    write_manifest(manifest_in(tmp_path, noun=("cup", "tap"), verb=("cut", "wash")), tmp_path / "m.csv")
    assert list(read_manifest(tmp_path / "m.csv").class_names) == ["noun", "verb"]
    verb = read_manifest(tmp_path / "m.csv", ManifestConfig(label_columns=("verb",)))
    assert verb.class_names == {"verb": ("cut", "wash")}
    assert [sample.labels for sample in verb.samples] == [(1,), (0,), (1,)]
    with pytest.raises(ConfigError) as caught:
        read_manifest(tmp_path / "m.csv", ManifestConfig(label_columns=("nuon",)))
    assert_one_line(caught, "'nuon'", "did you mean 'noun'")


def test_changed_files_are_noted(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path, label=("x", "y"))
    write_manifest(manifest, tmp_path / "m.csv")
    (tmp_path / "a.mp4").write_bytes(b"something longer than before")
    again = read_manifest(tmp_path / "m.csv")
    assert any("files changed" in note and manifest.fingerprint in note for note in again.notes)


def test_labels_of_a_checkpoint_replace_the_order_of_the_file(tmp_path: Path) -> None:
    write_manifest(manifest_in(tmp_path, label=("x", "y")), tmp_path / "m.csv")
    turned = read_manifest(tmp_path / "m.csv", ManifestConfig(class_names={"label": ("y", "x")}))
    assert [sample.labels for sample in turned.samples] == [(0,), (1,), (0,)]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("c.mp4,val,,,,,y", "c.mp4,val,,,,,z", ["line 13", "class 'z' is not among the 2 classes"]),
        ("c.mp4,val,,,,,y", "c.mp4,holdout,,,,,y", ["line 13", "'holdout'"]),
        ("c.mp4,val,,,,,y", "c.mp4,val,3,2,,,y", ["line 13", "ends at 2.0 s"]),
        ("c.mp4,val,,,,,y", "c.mp4,val,y", ["line 13", "3 cells, expected 7"]),
        ("c.mp4,val,,,,,y", 'c.mp4,val,,,,,"y', ["line 13", "cannot be read as CSV"]),
        ("tubelet manifest 1", "tubelet manifest 9", ["tubelet manifest 9", "expected '# tubelet manifest 1'"]),
        ("# root: .", "# boot: .", ["lack one of layout, root"]),
        ("# root: .", "# root: [", ["are no YAML"]),
        ("end_seconds,fps", "end,fps", ["expected path, split, start_seconds, end_seconds"]),
    ],
)
def test_edited_files_are_refused_in_one_line(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    write_manifest(manifest_in(tmp_path, label=("x", "y")), tmp_path / "m.csv")
    text = (tmp_path / "m.csv").read_text()
    assert old in text
    assert text.splitlines()[12] == "c.mp4,val,,,,,y"
    (tmp_path / "m.csv").write_text(text.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert_one_line(caught, str(tmp_path / "m.csv"), *parts)


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path, split=("x", "y"))
    with pytest.raises(DataError, match="a head is called 'split'"):
        write_manifest(manifest, tmp_path / "m.csv")
    unlabeled = Sample(path="a.mp4", labels=(-1,), split="test")
    with pytest.raises(DataError, match="has no label"):
        write_manifest(Manifest(tmp_path, (unlabeled,), {"label": ("x", "y")}, "files"), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_a_written_manifest_is_read_as_one_whatever_layout_a_recipe_names(tmp_path: Path) -> None:
    write_manifest(manifest_in(tmp_path, label=("b", "a")), tmp_path / "rows.csv")
    plain = read_manifest(tmp_path / "rows.csv")
    assert read_manifest(tmp_path / "rows.csv", ManifestConfig(layout="kinetics")) == plain
