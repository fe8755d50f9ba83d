from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import assert_one_line, touch, write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError


def write_npz(path: Path, counts: dict[str, int], **arrays: np.ndarray) -> Path:
    for split, count in counts.items():
        arrays.setdefault(f"{split}_images", np.zeros((count, 3, 4, 5), np.uint8))
        arrays.setdefault(f"{split}_labels", (np.arange(count) % 2)[:, None].astype(np.uint8))
    np.savez_compressed(path, **arrays)
    return path


def paths(manifest: Manifest, split: str) -> set[str]:
    return {sample.path for sample in manifest.samples if sample.split == split}


# Folders


def test_split_folders_become_rows_with_sorted_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4", "train/jump/b.MOV", "validation/jump/c.mkv", "test/run/d.webm")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "split folders"
    assert manifest.class_names == {"label": ("jump", "run")}
    assert [(s.path, s.labels, s.split) for s in manifest.samples] == [
        ("test/run/d.webm", (1,), "test"),
        ("train/jump/b.MOV", (0,), "train"),
        ("train/run/a.mp4", (1,), "train"),
        ("validation/jump/c.mkv", (0,), "val"),
    ]
    assert manifest.splits == ("train", "val", "test")
    assert manifest.split("test").class_counts() == {"jump": 0, "run": 1}
    assert manifest.path_of(manifest.samples[0]) == tmp_path / "test/run/d.webm"


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.mp4" for name in ("bus", "train") for i in range(4)))
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "class folders"
    assert manifest.class_names["label"] == ("bus", "train")


def test_class_folders_are_split_by_class_and_seed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.mp4" for name, n in (("a", 20), ("b", 40), ("c", 1)) for i in range(n)))
    config = ManifestConfig(val_fraction=0.1, test_fraction=0.2)
    manifest = read_manifest(tmp_path, config)
    assert manifest.split("train").class_counts() == {"a": 14, "b": 28, "c": 1}
    assert manifest.split("val").class_counts() == {"a": 2, "b": 4, "c": 0}
    assert manifest.split("test").class_counts() == {"a": 4, "b": 8, "c": 0}
    assert any("6 of 61 rows split off for 'val'" in note for note in manifest.notes)
    assert read_manifest(tmp_path, config) == manifest
    other = read_manifest(tmp_path, ManifestConfig(val_fraction=0.1, test_fraction=0.2, split_seed=1))
    assert paths(other, "test") != paths(manifest, "test")


def test_an_added_file_leaves_most_of_a_random_split_where_it_was(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.mp4" for name in "ab" for i in range(50)))
    before = read_manifest(tmp_path)
    after = read_manifest(touch(tmp_path, "a/new.mp4"))
    assert len(paths(before, "test") & paths(after, "test")) >= len(paths(before, "test")) - 1


def test_a_missing_validation_split_is_taken_from_training_only(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{name}/{i}.mp4" for split in ("train", "test") for name in "ab" for i in range(10)))
    manifest = read_manifest(tmp_path, ManifestConfig(val_fraction=0.2))
    assert len(manifest.split("test")) == 20
    assert manifest.split("val").class_counts() == {"a": 2, "b": 2}
    assert all(path.startswith("train/") for path in paths(manifest, "val"))
    assert any("split off for 'val'" in note for note in manifest.notes)


def test_volumes_are_rows_and_other_files_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{name}/{i}.npy" for name in "ab" for i in range(3)), "train/a/notes.txt")
    touch(tmp_path, "extra/a/1.mp4", "train/a/.hidden.mp4")
    (tmp_path / "train" / "empty").mkdir()
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 6
    assert manifest.class_names["label"] == ("a", "b")
    assert any("2 files or folders ignored" in n and "extra" in n and "notes.txt" in n for n in manifest.notes)
    assert any("'train/empty' holds no videos" in note for note in manifest.notes)


def test_test_folders_alone_are_read_with_the_classes_of_a_checkpoint(tmp_path: Path) -> None:
    touch(tmp_path, "test/run/a.mp4")
    manifest = read_manifest(tmp_path, ManifestConfig(class_names={"label": ("jump", "run", "walk")}))
    assert manifest.splits == ("test",)
    assert manifest.samples[0].labels == (1,)
    with pytest.raises(DataError) as caught:
        manifest.split("train")
    assert_one_line(caught, "no 'train' split", "test")


# CSV


def test_csv_reads_segments_splits_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "clips/a.mp4", "clips/b.mp4")
    source = write_csv(
        tmp_path / "data.csv",
        [
            ["path", "label", "split", "start", "end_seconds"],
            ["clips/a.mp4", "dog", "train", "0", "6"],
            [],
            ["clips/b.mp4", "cat", "Train", "", ""],
            [str(tmp_path / "clips/a.mp4"), "dog", "valid", "6.5", ""],
        ],
    )
    manifest = read_manifest(source)
    assert manifest.class_names == {"label": ("cat", "dog")}
    rows = [(s.path, s.labels, s.split, s.start_seconds, s.end_seconds) for s in manifest.samples]
    assert rows == [
        ("clips/a.mp4", (1,), "train", 0.0, 6.0),
        ("clips/b.mp4", (0,), "train", None, None),
        ("clips/a.mp4", (1,), "val", 6.5, None),  # one file has one spelling
    ]


def test_csv_reads_several_heads_and_another_root(tmp_path: Path) -> None:
    touch(tmp_path / "videos", *(f"{i}.mp4" for i in range(4)))
    rows = [["path", "verb", "noun", "split"]]
    rows += [[f"{i}.mp4", ("cut", "wash")[i % 2], str(i + 8), "train"] for i in range(4)]
    source = write_csv(tmp_path / "data.csv", rows)
    config = ManifestConfig(label_columns=("verb", "noun"), root=tmp_path / "videos", val_fraction=0.0)
    manifest = read_manifest(source, config)
    assert manifest.class_names == {"verb": ("cut", "wash"), "noun": ("8", "9", "10", "11")}
    assert [s.labels for s in manifest.samples] == [(0, 0), (1, 1), (0, 2), (1, 3)]
    assert manifest.class_counts() == {"cut": 2, "wash": 2}
    assert manifest.class_counts("noun") == {"8": 1, "9": 1, "10": 1, "11": 1}


def test_numbers_are_indices_into_given_class_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    source = write_csv(tmp_path / "d.csv", [["path", "label", "split"], ["a.mp4", 1, "train"], ["b.mp4", 0, "train"]])
    manifest = read_manifest(source, ManifestConfig(class_names={"label": ("normal", "ill")}, val_fraction=0.0))
    assert [s.labels for s in manifest.samples] == [(1,), (0,)]
    assert manifest.class_names["label"] == ("normal", "ill")


def test_segments_of_one_file_stay_in_one_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(20)))
    rows: list[list[object]] = [["path", "label", "start_seconds", "end_seconds"]]
    rows += [[f"{i}.mp4", "ab"[(i + second) % 2], second, second + 1] for i in range(20) for second in range(5)]
    manifest = read_manifest(write_csv(tmp_path / "data.csv", rows))
    assert manifest.splits == ("train", "val", "test")
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not paths(manifest, one) & paths(manifest, other)


def test_a_random_split_never_takes_the_last_training_row_of_a_class(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(12)))
    rows: list[list[object]] = [["path", "verb", "noun"]]
    rows += [[f"{i}.mp4", "ab"[i % 2], f"noun{i // 3}"] for i in range(12)]
    config = ManifestConfig(label_columns=("verb", "noun"), val_fraction=0.4, test_fraction=0.4)
    train = read_manifest(write_csv(tmp_path / "data.csv", rows), config).split("train")
    assert all(train.class_counts("verb").values())
    assert all(train.class_counts("noun").values())


def test_a_class_outside_the_given_names_is_refused_with_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    source = write_csv(tmp_path / "d.csv", [["path", "label"], ["a.mp4", "jump"], ["b.mp4", "jmup"]])
    with pytest.raises(DataError) as caught:
        read_manifest(source, ManifestConfig(class_names={"label": ("jump", "run")}))
    assert_one_line(caught, "'jmup' of b.mp4", "did you mean 'jump'")
    with pytest.raises(ConfigError) as caught_config:
        read_manifest(source, ManifestConfig(class_names={"verb": ("jump", "run")}))
    assert_one_line(caught_config, "'verb'", "label")


# MedMNIST .npz


def test_npz_rows_are_addresses_in_array_order(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "set.npz", {"train": 4, "val": 2, "test": 3})
    manifest = read_manifest(source)
    assert manifest.layout == "npz"
    assert manifest.class_names == {"label": ("0", "1")}
    assert [len(manifest.split(s)) for s in ("train", "val", "test")] == [4, 2, 3]
    assert [(s.path, s.entry, s.labels) for s in manifest.split("test").samples] == [
        ("set.npz", "test_images[0]", (0,)),
        ("set.npz", "test_images[1]", (1,)),
        ("set.npz", "test_images[2]", (0,)),
    ]


# Fingerprint and configuration


def test_fingerprint_follows_the_data_and_not_its_place(tmp_path: Path) -> None:
    names = [f"train/{name}/{i}.mp4" for name in "ab" for i in range(5)]
    first = read_manifest(touch(tmp_path / "one", *names)).fingerprint
    assert read_manifest(touch(tmp_path / "two", *names)).fingerprint == first
    assert len(first) == 16
    assert int(first, 16) >= 0
    touch(tmp_path / "one", "train/a/new.mp4")
    (tmp_path / "two/train/a/0.mp4").write_bytes(b"another length")
    assert read_manifest(tmp_path / "one").fingerprint != first
    assert read_manifest(tmp_path / "two").fingerprint != first


def test_fingerprint_follows_the_content_of_npz(tmp_path: Path) -> None:
    prints = set()
    for value in (0, 1):
        images = np.full((4, 3, 4, 5), value, np.uint8)
        arrays = {f"{split}_images": images for split in ("train", "val")}
        labels = {f"{split}_labels": np.array([[0], [1], [0], [1]]) for split in ("train", "val")}
        np.savez(tmp_path / "set.npz", **arrays, **labels)  # type: ignore[arg-type]
        prints.add(read_manifest(tmp_path / "set.npz").fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"val_fraction": -0.1},
        {"label_columns": ()},
        {"label_columns": ("a", "a")},
        {"class_names": {"label": ("a", "a")}},
    ],
)
def test_impossible_configurations_raise(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ManifestConfig(**fields)  # type: ignore[arg-type]


def test_numbers_that_stand_for_given_names_are_said_so(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "volumes.npz", {"train": 6, "val": 4, "test": 4})
    named = read_manifest(file, ManifestConfig(class_names={"label": ("normal", "hyperplasia")}))
    assert any("numbers" in note and "'normal'" in note for note in named.notes)
    assert not any("numbers" in note for note in read_manifest(file).notes)
