"""A split keeps together what belongs together, and a run keeps the split that it began with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from support import assert_one_line, touch, write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.recorded_split import as_recorded, split_facts
from tubelet.errors import ConfigError, DataError


def splits_of_groups(manifest: Manifest) -> dict[str, set[str]]:
    found = defaultdict(set)
    for sample in manifest.samples:
        found[sample.group or sample.path].add(sample.split)
    return dict(found)


def assert_whole(manifest: Manifest, num_groups: int) -> None:
    """Every group lies in one split, and each split has some of them."""
    found = splits_of_groups(manifest)
    assert len(found) == num_groups
    assert all(len(splits) == 1 for splits in found.values())
    assert set().union(*found.values()) == {"train", "val", "test"}


def table(tmp_path: Path, column: str, groups: Iterable[str]) -> Path:
    """Two classes, three clips of each group."""
    rows = [(f"{label}{group}_{i}.mp4", label, group) for group in groups for label in "ab" for i in range(3)]
    touch(tmp_path, *(path for path, _, _ in rows))
    return write_csv(tmp_path / "data.csv", [["path", "label", column], *map(list, rows)])


@pytest.mark.parametrize("column", ["group", "patient", "subject"])
def test_a_column_keeps_its_groups_in_one_split(tmp_path: Path, column: str) -> None:
    manifest = read_manifest(table(tmp_path, column, "123456789"))
    assert_whole(manifest, 9)
    assert any(f"groups by column '{column}'" in note for note in manifest.notes)
    assert f"groups by column '{column}'" in manifest.split_text


def test_another_column_is_named_and_must_exist(tmp_path: Path) -> None:
    source = table(tmp_path, "match", "123456789")
    assert_whole(read_manifest(source, ManifestConfig(group_column="match")), 9)
    assert not all(len(splits) == 1 for splits in splits_of_groups(_with_groups(read_manifest(source))).values())
    with pytest.raises(DataError) as caught:
        read_manifest(source, ManifestConfig(group_column="game"))
    assert_one_line(caught, "game", "match")


def _with_groups(manifest: Manifest) -> Manifest:
    """The manifest with the groups that its file names show."""
    samples = tuple(replace(sample, group=sample.path[1]) for sample in manifest.samples)
    return replace(manifest, samples=samples)


def test_a_folder_below_the_class_is_a_group_in_all_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/match{n}/{i}.mp4" for label in "ab" for n in range(8) for i in range(3)))
    touch(tmp_path, "a/frames/00001.jpg", "a/frames/00002.jpg", "b/match1/shot/00001.jpg")
    manifest = read_manifest(tmp_path)
    assert_whole(manifest, 9)
    by_path = {sample.path: sample.group for sample in manifest.samples}
    assert by_path["a/frames"] is None
    assert by_path["b/match1/shot"] == "match1"
    assert {sample.split for sample in manifest.samples if sample.group == "match1"} in ({"train"}, {"val"}, {"test"})


def test_deeper_folders_are_refused_with_their_tree(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/match1/half1/2.mp4")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert_one_line(caught, "b (class) / match1 (group) / half1 (?) / 2.mp4", "<class>/<group>/clip.mp4")
    touch(tmp_path / "other", "a/train/1.mp4", "a/test/2.mp4", "b/train/1.mp4", "b/test/2.mp4")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "other")
    assert_one_line(caught, "split below a class", "test/a/clip.mp4")


def test_a_pattern_reads_groups_and_shows_examples(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/game_{n}_{i:02d}.mp4" for label in "ab" for n in range(8) for i in range(3)))
    touch(tmp_path, "a/odd.mp4")
    manifest = read_manifest(tmp_path, ManifestConfig(group_pattern="{group}_{n}"))
    assert_whole(manifest, 9)
    assert any("game_0_00 is of group game_0" in note and "1 files do not fit" in note for note in manifest.notes)
    with pytest.raises(ConfigError) as caught:
        read_manifest(tmp_path, ManifestConfig(group_pattern="{group}-{n}"))
    assert_one_line(caught, "fits none", "game_0_00")


def test_clips_of_one_file_stay_together_whatever_their_groups(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.mp4" for n in range(12)))
    rows = [[f"{n}.mp4", "ab"[n % 2], str(s), str(s + 1), f"g{n}-{s}"] for n in range(12) for s in range(3)]
    manifest = read_manifest(write_csv(tmp_path / "d.csv", [["path", "label", "start", "end", "group"], *rows]))
    by_file = defaultdict(set)
    for sample in manifest.samples:
        by_file[sample.path].add(sample.split)
    assert all(len(splits) == 1 for splits in by_file.values())
    assert manifest.num_groups == 12


def test_stated_splits_that_part_a_group_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, *"1234")
    rows = [["1", "a", "train", "x"], ["2", "b", "train", "y"], ["3", "a", "test", "x"], ["4", "b", "val", "z"]]
    manifest = read_manifest(write_csv(tmp_path / "d.csv", [["path", "label", "split", "patient"], *rows]))
    assert any("1 of 3 groups lie in several of the splits" in note and "x" in note for note in manifest.notes)
    assert "stated by the data" in manifest.split_text


def test_groups_leave_the_fingerprint_as_it_was(tmp_path: Path) -> None:
    touch(tmp_path, *"1234")
    rows = [["1", "a", "train", "x"], ["2", "b", "train", "y"], ["3", "a", "test", "u"], ["4", "b", "val", "z"]]
    with_groups = read_manifest(write_csv(tmp_path / "d.csv", [["path", "label", "split", "group"], *rows]))
    without = read_manifest(write_csv(tmp_path / "e.csv", [["path", "label", "split"], *(r[:3] for r in rows)]))
    assert with_groups.samples[0].group == "x"
    assert with_groups.fingerprint == without.fingerprint


def test_a_written_manifest_keeps_groups(tmp_path: Path) -> None:
    manifest = read_manifest(table(tmp_path, "group", "123456789"))
    write_manifest(manifest, tmp_path / "written.csv")
    again = read_manifest(tmp_path / "written.csv")
    assert again.samples == manifest.samples
    assert not any("changed" in note for note in again.notes)


def test_large_groups_leave_every_class_some_training_rows(tmp_path: Path) -> None:
    sizes = {"x": 30, "y": 3, "z": 2}
    rows = [[f"{label}{g}{i}.mp4", label, f"{label}{g}"] for label in "ab" for g, n in sizes.items() for i in range(n)]
    touch(tmp_path, *(row[0] for row in rows))
    manifest = read_manifest(write_csv(tmp_path / "d.csv", [["path", "label", "group"], *rows]))
    assert manifest.split("train").class_counts() == {"a": 30, "b": 30}
    assert any("has 3 groups: --folds 3" in note for note in manifest.notes)


# Folds


def test_folds_test_every_row_once_and_keep_groups(tmp_path: Path) -> None:
    source = table(tmp_path, "group", "123456789")
    tested: list[str] = []
    for fold in range(1, 6):
        manifest = read_manifest(source, ManifestConfig(folds=5, fold=fold))
        assert_whole(manifest, 9)
        assert f"fold {fold} of 5" in manifest.split_text
        tested += [sample.path for sample in manifest.split("test").samples]
    assert sorted(tested) == sorted(sample.path for sample in manifest.samples)


def test_folds_replace_stated_splits_and_say_so(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{label}/{i}.mp4" for split in ("train", "test") for label in "ab" for i in range(5)))
    manifest = read_manifest(tmp_path, ManifestConfig(folds=5))
    assert len(manifest.split("test")) == 4
    assert any("splits that the data state are left aside" in note for note in manifest.notes)


def test_the_only_group_of_a_class_is_never_tested(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a/g{g}/{i}.mp4" for g in range(4) for i in range(2)), *(f"b/only/{i}.mp4" for i in range(4)))
    for fold in (1, 2):
        assert read_manifest(tmp_path, ManifestConfig(folds=2, fold=fold)).split("train").class_counts()["b"] == 4


@pytest.mark.parametrize(("folds", "fold"), [(1, 1), (3, 0), (3, 4)])
def test_folds_that_cannot_be_are_refused(folds: int, fold: int) -> None:
    with pytest.raises(ConfigError) as caught:
        ManifestConfig(folds=folds, fold=fold)
    assert_one_line(caught, "folds must be at least 2")


# Recorded


def test_a_recorded_split_is_kept_when_groups_become_known(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/game_{n}_{i:02d}.mp4" for label in "ab" for n in range(8) for i in range(3)))
    began = read_manifest(tmp_path)
    facts = {"data_fingerprint": began.fingerprint, "split": split_facts(began)}
    config, recorded = as_recorded(ManifestConfig(group_pattern="{group}_{n}"), facts)
    again = read_manifest(tmp_path, config, recorded=recorded)
    assert [sample.split for sample in again.samples] == [sample.split for sample in began.samples]
    assert again.fingerprint == began.fingerprint


def test_a_run_of_a_version_without_groups_keeps_its_split(tmp_path: Path) -> None:
    source = table(tmp_path, "group", "123456789")
    by_files = read_manifest(source, ManifestConfig(split_by="files"))
    config, recorded = as_recorded(ManifestConfig(), {"data_fingerprint": by_files.fingerprint})
    assert read_manifest(source, config, recorded=recorded).fingerprint == by_files.fingerprint
    assert read_manifest(source).fingerprint != by_files.fingerprint
