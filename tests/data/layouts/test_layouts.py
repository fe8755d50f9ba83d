"""Datasets that cannot be used are refused in one line that says what came and what was expected."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from support import assert_one_line, touch, write_csv
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ([], ["no videos or .npy volumes", "/<class>/"]),
        (["a.mp4", "b.mp4"], ["no videos or .npy volumes", "/<class>/"]),
        (["train/a.mp4", "test/a.mp4"], ["holds no class folders", "/<class>/"]),
        (["a/1.mp4", "a/2.mp4"], ["only one class", "'a'"]),
        (["train/a/1.mp4", "val/b/1.mp4"], ["shows one class only", "'a'"]),
        (["train/a/1.mp4", "train/b/1.mp4", "val/c/1.mp4"], ["'c' of the val split", "no training rows"]),
    ],
)
def test_unusable_folders_are_refused_in_one_line(tmp_path: Path, files: list[str], parts: list[str]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert_one_line(caught, str(tmp_path), *parts)


@pytest.mark.parametrize("name", ["missing", "file.txt"])
def test_a_source_that_is_no_dataset_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "file.txt")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / name)
    assert_one_line(caught, name, "expected a folder, a .csv file or a MedMNIST .npz file")


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([["path", "class"], ["a.mp4", "x"]], ["no column 'label'", "path, class"]),
        ([["file", "label"], ["a.mp4", "x"]], ["no column 'path'", "file, label"]),
        ([], ["no column 'path'"]),
        ([["path", "label"]], ["no rows"]),
        ([["path", "label"], ["a.mp4"]], ["line 2", "1 cells, expected 2"]),
        ([["path", "label"], ["a.mp4", "x"], ["a.mp4", " "]], ["line 3", "'label' is empty"]),
        ([["path", "label", "split"], ["a.mp4", "x", "holdout"]], ["line 2", "'holdout'", "train"]),
        ([["path", "label", "start"], ["a.mp4", "x", "soon"]], ["line 2", "'soon' is not a time"]),
        ([["path", "label", "end"], ["a.mp4", "x", "-1"]], ["line 2", "'-1' is not a time"]),
        ([["path", "label", "start", "end"], ["a.mp4", "x", 3, 2]], ["line 2", "ends at 2.0 s"]),
        ([["path", "label"], ["a.mp4", "x"], ["no.mp4", "y"], ["no2.mp4", "y"]], ["2 of its files", "no.mp4, no2.mp4"]),
        ([["path", "label"], ["a.mp4", "x"], ["/nowhere/b.mp4", "y"]], ["1 of its files", "/nowhere/b.mp4"]),
        ([["path", "label", "label"], ["a.mp4", "x", "y"]], ["stands twice"]),
    ],
)
def test_malformed_csv_is_refused_in_one_line(tmp_path: Path, rows: list[list[object]], parts: list[str]) -> None:
    touch(tmp_path, "a.mp4")
    source = write_csv(tmp_path / "data.csv", rows)
    with pytest.raises(DataError) as caught:
        read_manifest(source)
    assert_one_line(caught, str(source), *parts)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(DataError) as caught:
        read_manifest(source)
    assert_one_line(caught, str(source), "UTF-8")


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x": np.zeros(3)}, ["arrays x", "train_images"]),
        ({"train_images": np.zeros((2, 3, 4, 5), np.uint8)}, ["train_labels"]),
        (
            {"train_images": np.zeros((2, 3, 4, 5), np.uint8), "train_labels": np.zeros((3, 1), np.uint8)},
            ["(2, 3, 4, 5)", "(3, 1)"],
        ),
        (
            {"train_images": np.zeros((2, 3, 4, 5), np.uint8), "train_labels": np.zeros((2, 1))},
            ["float64", "integers (N, 1)"],
        ),
        (
            {"train_images": np.array([{}, {}], dtype=object), "train_labels": np.zeros((2, 1), np.uint8)},
            ["'train_images'", "pickled"],
        ),
    ],
)
def test_npz_of_another_kind_is_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], parts: list[str]
) -> None:
    source = tmp_path / "set.npz"
    np.savez(source, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        read_manifest(source)
    assert_one_line(caught, str(source), *parts)


@pytest.mark.parametrize("content", [b"", b"some text", pickle.dumps({"train_images": 1})])
def test_a_file_that_is_no_npz_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "set.npz"
    source.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_manifest(source)
    assert_one_line(caught, str(source), "not an .npz archive")
