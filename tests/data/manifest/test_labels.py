"""Rows with several labels, or without one of some heads, from the table to the batch and back into a manifest file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import PROTOCOL, assert_one_line, touch, write_csv
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError
from tubelet.tasks.choose import task_of

SEVERAL = ManifestConfig(label_separator="|", val_fraction=0.0)


def several(root: Path) -> Path:
    """Six videos of which two have several labels and one has none."""
    cells = ["walk|talk", "talk", " sing | walk |", "", "sing", "talk|sing|talk"]
    touch(root, *(f"{i}.mp4" for i in range(6)))
    splits = ["train", "train", "train", "train", "val", "val"]
    rows = ([f"{i}.mp4", cell, split] for i, (cell, split) in enumerate(zip(cells, splits, strict=True)))
    return write_csv(root / "labels.csv", [["path", "label", "split"], *rows])


def test_a_cell_may_hold_several_labels_or_none(tmp_path: Path) -> None:
    manifest = read_manifest(several(tmp_path), SEVERAL)
    assert manifest.multi_label
    assert manifest.class_names == {"label": ("sing", "talk", "walk")}
    assert [sample.labels for sample in manifest.samples] == [(2, 1), (1,), (0, 2), (), (0,), (1, 0)]
    assert manifest.class_counts() == {"sing": 3, "talk": 3, "walk": 2}


def test_without_a_separator_a_cell_is_one_label_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(several(tmp_path))
    assert_one_line(caught, "line 5", "'label' is empty")


def test_a_label_that_no_class_name_knows_is_named(tmp_path: Path) -> None:
    names = {"label": ("walk", "talk", "sin")}
    config = ManifestConfig(label_separator="|", val_fraction=0.0, class_names=names)
    with pytest.raises(DataError, match=r"class 'sing' of 2\.mp4 is not among the 3 class names"):
        read_manifest(several(tmp_path), config)


@pytest.mark.parametrize("columns", [("verb", "noun"), ("label",)])
def test_several_labels_are_for_one_column_and_the_separator_is_something(columns: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="label_separator must not be empty and takes one label column"):
        ManifestConfig(label_columns=columns, label_separator="|" if len(columns) > 1 else "")


def test_every_class_that_training_must_keep_stays_when_rows_are_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(40)))
    cells = ["a|b", "b", "a", "", "b|a|c", "c", "a|c"] * 6
    write_csv(tmp_path / "labels.csv", [["path", "label"], *([f"{i}.mp4", cells[i]] for i in range(40))])
    manifest = read_manifest(tmp_path / "labels.csv", ManifestConfig(label_separator="|"))
    assert manifest.splits == ("train", "val", "test")
    assert all(manifest.split("train").class_counts().values())
    assert all(manifest.split("val").class_counts().values())


@pytest.mark.parametrize("kind", ["several labels", "several heads"])
def test_a_written_manifest_reads_back_equal(tmp_path: Path, kind: str) -> None:
    if kind == "several labels":
        manifest = read_manifest(several(tmp_path), SEVERAL)
    else:
        manifest = read_manifest(*heads(tmp_path))
    write_manifest(manifest, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv")
    assert (again.samples, again.class_names) == (manifest.samples, manifest.class_names)
    assert (again.multi_label, again.fingerprint) == (manifest.multi_label, manifest.fingerprint)


def test_the_file_of_several_labels_takes_a_separator_that_is_in_no_name(tmp_path: Path) -> None:
    touch(tmp_path, "0.mp4", "1.mp4")
    write_csv(tmp_path / "labels.csv", [["path", "label"], ["0.mp4", "a|b;c|d"], ["1.mp4", "c|d"]])
    config = ManifestConfig(label_separator=";", val_fraction=0.0, test_fraction=0.0)
    manifest = read_manifest(tmp_path / "labels.csv", config)
    assert manifest.class_names == {"label": ("a|b", "c|d")}
    write_manifest(manifest, tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv").samples == manifest.samples


def heads(root: Path) -> tuple[Path, ManifestConfig]:
    """Rows of two heads, of which two lack a label."""
    touch(root, *(f"{i}.mp4" for i in range(5)))
    rows = [["0.mp4", "cut", "cup"], ["1.mp4", "", "tap"], ["2.mp4", "wash", ""], ["3.mp4", "wash", "cup"]]
    file = write_csv(root / "labels.csv", [["path", "verb", "noun"], *rows])
    return file, ManifestConfig(label_columns=("verb", "noun"), val_fraction=0.0, test_fraction=0.0)


def test_a_row_may_lack_the_label_of_one_head(tmp_path: Path) -> None:
    manifest = read_manifest(*heads(tmp_path))
    assert manifest.class_names == {"verb": ("cut", "wash"), "noun": ("cup", "tap")}
    assert [sample.labels for sample in manifest.samples] == [(0, 0), (-1, 1), (1, -1), (1, 0)]
    assert manifest.class_counts("verb") == {"cut": 1, "wash": 2}


def found(root: Path, labels: list[str], **options: object) -> list[tuple[str, dict[str, int]]]:
    touch(root, *(f"{i}.mp4" for i in range(len(labels))))
    file = write_csv(root / "labels.csv", [["path", "label"], *([f"{i}.mp4", cell] for i, cell in enumerate(labels))])
    manifest = read_manifest(file, ManifestConfig(val_fraction=0.0, test_fraction=0.0, **options))  # type: ignore[arg-type]
    assert [finding.note for finding in manifest.label_findings] == [n for n in manifest.notes if "label" in n]
    return [(finding.kind, finding.counts) for finding in manifest.label_findings]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red", "Red"),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("7", "007"),
        ("take_01", "take_1"),
        ("a b", "a  b"),
    ],
)
def test_classes_that_are_probably_one_are_counted(tmp_path: Path, one: str, other: str) -> None:
    assert found(tmp_path, [one, other, "other", one]) == [("alike", {one: 2, other: 1})]


@pytest.mark.parametrize(
    ("one", "other"), [("red", "rad"), ("0.5", "0.05"), ("10", "100"), ("resume", "r\u00e9sum\u00e9")]
)
def test_classes_that_differ_otherwise_are_not(tmp_path: Path, one: str, other: str) -> None:
    assert found(tmp_path, [one, other]) == []


@pytest.mark.parametrize("cell", ["nan", "None", "NULL", "N/A", "<NA>"])
def test_classes_that_look_like_empty_cells_are_counted(tmp_path: Path, cell: str) -> None:
    assert found(tmp_path, ["a", cell, "b", cell]) == [("like_empty", {cell: 2})]


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    assert found(tmp_path, ["a|b", "", "b", ""], label_separator="|") == [("empty", {"": 2})]


def test_rows_of_one_segment_become_one_with_all_its_labels(tmp_path: Path) -> None:
    touch(tmp_path, "0.mp4", "1.mp4")
    rows = [["0.mp4", "a", 0, 5], ["1.mp4", "b", 0, 5], ["./0.mp4", "c", 0, 5], ["0.mp4", "b", 5, 9]]
    file = write_csv(tmp_path / "labels.csv", [["path", "label", "start", "end"], *rows])
    config = ManifestConfig(label_separator="|", val_fraction=0.0, test_fraction=0.0)
    manifest = read_manifest(file, config)
    assert [(row.path, row.labels, row.start_seconds) for row in manifest.samples] == [
        ("0.mp4", (0, 2), 0.0),
        ("1.mp4", (1,), 0.0),
        ("0.mp4", (1,), 5.0),
    ]
    assert "4 rows are 3 segments, each with the labels of all its rows" in manifest.notes


# Into batches


@pytest.fixture
def volumes(tmp_path: Path) -> Manifest:
    for i in range(8):
        np.save(tmp_path / f"{i}.npy", np.full((6, 24, 24), 10 * i, np.uint8))
    labels = [(0,)] * 6 + [(0, 2)] + [()]
    rows = tuple(Sample(path=f"{i}.npy", labels=label, split="train") for i, label in enumerate(labels))
    names = {"label": ("left", "right", "jump")}
    return Manifest(root=tmp_path, samples=rows, class_names=names, layout="files", multi_label=True)


def test_a_batch_has_a_column_per_class(volumes: Manifest) -> None:
    batch = next(
        iter(Loader(ClipDataset(volumes, PROTOCOL, "views"), 8, targets=task_of(volumes).targets).eval_batches())
    )
    assert batch.labels.tolist() == [[1, 0, 0]] * 6 + [[1, 0, 1], [0, 0, 0]]


def test_a_mirrored_clip_has_the_mirrored_labels(volumes: Manifest) -> None:
    augment = AugmentConfig(flip_probability=1.0, flip_label_map={"left": "right", "right": "left"})
    dataset = ClipDataset(volumes, PROTOCOL, "train", augment)
    assert [dataset.read(i).labels for i in (0, 6, 7)] == [(1,), (1, 2), ()]
