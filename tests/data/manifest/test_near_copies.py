"""Near-copies are found through mirroring, brightness, re-encoding and shifts, and decide where nothing else does."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from copied_films import brighter, film, write
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest import near_copies
from tubelet.data.manifest.fingerprints import SIZE, fingerprint, of_pictures
from tubelet.data.manifest.near_copies import STORE_NAME, find_near_copies, groups_of, link_near_copies
from tubelet.data.manifest.read import read_manifest
from tubelet.data.scan.findings import findings
from tubelet.data.scan.scan_file import ScanFile, scan_file
from tubelet.data.synthetic import CLASSES, motion_clip


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, four films each; of each film a clip, and two that overlap it by half, changed."""
    root = tmp_path_factory.mktemp("cuts")
    for number in range(8):
        frames, label = film(number), "ab"[number % 2]
        write(root / label / f"f{number}-plain.mp4", frames[:24])
        write(root / label / f"f{number}-mirrored.mp4", brighter(frames[12:36, :, ::-1]))
        write(root / label / f"f{number}-small.mp4", frames[5:29, ::2, ::2], crf=34)
    return root


def film_of(path: str) -> str:
    return Path(path).name.partition("-")[0]


def test_changed_cuts_of_a_film_are_linked_and_others_are_not(cuts: Path) -> None:
    names = [str(path) for path in cuts.glob("*/*.mp4")]
    pairs = link_near_copies({name: fingerprint(Path(name)) for name in names})
    found = {frozenset(pair[:2]) for pair in pairs}
    true = {frozenset(pair) for pair in itertools.combinations(names, 2) if len(set(map(film_of, pair))) == 1}
    assert len(found & true) >= 0.9 * len(true)
    assert len(found & true) >= 0.95 * len(found)


def test_generated_motions_look_alike_and_are_not_merged() -> None:
    rng = np.random.default_rng(3)
    clips = [motion_clip(CLASSES[number % 8], rng) for number in range(80)]
    block = 64 // SIZE
    small = [clip.mean(axis=3).reshape(len(clip), SIZE, block, SIZE, block).mean(axis=(2, 4)) for clip in clips]
    groups = groups_of(link_near_copies({str(number): of_pictures(clip[::4]) for number, clip in enumerate(small)}))
    assert max(map(len, groups), default=1) <= 1 + 0.05 * len(clips)


def test_near_copies_decide_where_nothing_else_does(cuts: Path) -> None:
    manifest = read_manifest(cuts)
    splits = {
        name: {s.split for s in manifest.samples if film_of(s.path) == name} for name in map(film_of, _paths(cuts))
    }
    assert all(len(found) == 1 for found in splits.values())
    assert manifest.num_groups == 8
    assert "by near-copies" in manifest.split_text
    assert any("24 of 24 files form 8 groups" in note for note in manifest.notes)
    by_files = read_manifest(cuts, ManifestConfig(split_by="files"))
    assert by_files.num_groups == 24


def _paths(root: Path) -> list[str]:
    return [str(path) for path in root.glob("*/*.mp4")]


def test_the_answer_is_stored_until_a_file_changes(cuts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_manifest(cuts)
    assert (cuts / STORE_NAME).is_file()
    monkeypatch.setattr(near_copies, "fingerprint", lambda *_: pytest.fail("read again"))
    assert read_manifest(cuts).samples == first.samples
    monkeypatch.undo()
    file = next(cuts.glob("a/*.mp4"))
    os.utime(file, (1, 1))
    monkeypatch.setattr(near_copies, "link_near_copies", lambda *_: [])
    assert any("split off" in note for note in read_manifest(cuts).notes)
    assert read_manifest(cuts).num_groups == 24


def test_too_many_files_or_too_little_time_is_said(cuts: Path) -> None:
    manifest = read_manifest(cuts)
    for limits, reason in (({"max_clips": 23}, "more than 23 files"), ({"max_seconds": 0.0}, "not enough")):
        (cuts / STORE_NAME).unlink(missing_ok=True)
        found = find_near_copies(cuts, manifest.samples, **limits)  # type: ignore[arg-type]
        assert not found.groups
        assert reason in found.not_looked


def test_a_group_that_swallows_a_class_leaves_it_to_the_files(tmp_path: Path) -> None:
    frames = film(1)
    for number in range(4):
        write(tmp_path / "one film" / f"{number}.mp4", frames[2 * number : 24 + 2 * number])
        write(tmp_path / "others" / f"{number}.mp4", film(10 + number)[:24])
    manifest = read_manifest(tmp_path)
    assert manifest.num_groups == 8
    assert any("4 of the 4 files of class 'one film'" in note for note in manifest.notes)
    assert manifest.split("test").class_counts() == {"one film": 1, "others": 1}


def test_a_scan_finds_near_copies_in_two_stated_splits(tmp_path: Path) -> None:
    frames = film(1)
    write(tmp_path / "train" / "a" / "1.mp4", frames[:24])
    write(tmp_path / "test" / "a" / "2.mp4", brighter(frames[8:32, :, ::-1]))
    write(tmp_path / "train" / "b" / "3.mp4", film(2)[:24])
    write(tmp_path / "test" / "b" / "4.mp4", film(3)[:24])
    manifest = read_manifest(tmp_path, is_checked=False)
    files = [ScanFile(path=row.path, file=tmp_path / row.path, entry=None) for row in manifest.samples]
    copies = find_near_copies(tmp_path, manifest.samples)
    found = findings(manifest, {file.path: scan_file(file) for file in files}, copies.groups)
    assert not found.leakage
    (group,) = found.near_copies
    assert {row.path for row in group.rows} == {"train/a/1.mp4", "test/a/2.mp4"}
    assert found.is_clean  # look-alikes are for people to judge
    assert not list(found.quarantine())


def test_a_damaged_store_is_made_again(cuts: Path) -> None:
    (cuts / STORE_NAME).write_text("{", encoding="utf-8")
    assert read_manifest(cuts).num_groups == 8
    assert json.loads((cuts / STORE_NAME).read_text(encoding="utf-8"))["answers"]
