"""One file is one file, however it is spelled or named, and has one split and one label."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import assert_one_line, touch, write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest import read, same_file
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import DataError


def manifest_of(root: Path, header: str, *rows: str, **options: object) -> Manifest:
    file = write_csv(root / "rows.csv", [header.split(","), *(row.split(",") for row in rows)])
    return read_manifest(file, ManifestConfig(**options))  # type: ignore[arg-type]


def spelled(root: Path, how: str, name: str) -> str:
    """Another path of a file in ``root``."""
    if how == "link":
        (root / f"link_{name}").symlink_to(root / name)
        return f"link_{name}"
    if how == "hard link":
        os.link(root / name, root / f"hard_{name}")
        return f"hard_{name}"
    if how == "link to the folder":
        (root / "linked").exists() or (root / "linked").symlink_to(root, target_is_directory=True)
        return f"linked/{name}"
    return {"dot": f"./{name}", "absolute": str(root / name), "detour": f"x/../{name}"}[how]


@pytest.mark.parametrize("how", ["dot", "absolute", "detour", "link", "hard link", "link to the folder"])
def test_a_file_that_is_spelled_in_two_ways_stays_in_one_split(tmp_path: Path, how: str) -> None:
    names = [f"{i}.mp4" for i in range(24)]
    touch(tmp_path, *names)
    (tmp_path / "x").mkdir()
    rows = [f"{path},{'ab'[i % 2]}" for i, name in enumerate(names) for path in (name, spelled(tmp_path, how, name))]
    manifest = manifest_of(tmp_path, "path,label", *rows)
    assert {row.path for row in manifest.samples} == set(names)
    assert sum("24 files are spelled in several ways" in note for note in manifest.notes) == 1
    splits = {name: {row.split for row in manifest.samples if row.path == name} for name in names}
    assert {len(found) for found in splits.values()} == {1}
    check_files(manifest)


def test_copies_of_a_file_come_into_one_split(tmp_path: Path) -> None:
    for i in range(24):
        for copy in "ab":
            touch(tmp_path, f"{i}{copy}.mp4").joinpath(f"{i}{copy}.mp4").write_bytes(b"%03d" % i * 40_000)
    manifest = manifest_of(
        tmp_path, "path,label", *(f"{i}{copy}.mp4,{'xy'[i % 2]}" for i in range(24) for copy in "ab")
    )
    assert len(manifest.splits) == 3
    of = {row.path: row.split for row in manifest.samples}
    assert all(of[f"{i}a.mp4"] == of[f"{i}b.mp4"] for i in range(24))
    check_files(manifest)


@pytest.mark.parametrize("how", ["itself", "dot", "link", "copy"])
def test_a_file_in_two_splits_is_refused_with_its_rows(tmp_path: Path, how: str) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    other = {"itself": "a.mp4", "copy": "copy.mp4"}.get(how) or spelled(tmp_path, how, "a.mp4")
    rows = ("a.mp4,x,train", "b.mp4,y,train", "c.mp4,y,val", f"{other},x,test")
    manifest = manifest_of(tmp_path, "path,label,split", *rows)
    with pytest.raises(DataError) as caught:
        check_files(manifest)
    assert_one_line(caught, "1 video stands in two splits: a.mp4 (train) = ", "(test)", "quarantine list")


def test_a_file_under_two_labels_is_refused_unless_a_video_may_have_several(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = ("a.mp4,x,train", "b.mp4,y,train", "./a.mp4,y,train")
    with pytest.raises(DataError) as caught:
        check_files(manifest_of(tmp_path, "path,label,split", *rows, val_fraction=0.0))
    assert_one_line(caught, "1 video stands under two labels: a.mp4 (x) = a.mp4 (y)", "label_separator")
    several = manifest_of(tmp_path, "path,label,split", *rows, val_fraction=0.0, label_separator="|")
    assert [row.labels for row in several.samples] == [(0, 1), (1,)]
    check_files(several)


@pytest.mark.parametrize(
    ("columns", "first", "second", "is_refused"),
    [
        ("start,end", "0,5", "5,10", False),
        ("start,end", "0,5", "4.9,10", False),
        ("start,end", "0,5", "2,6", True),
        ("start,end", "0,5", ",", True),
        ("start,end", "3,", "20,21", True),
        ("start_frame,end_frame", "0,50", "50,100", False),
        ("start_frame,end_frame", "0,50", "10,60", True),
    ],
)
def test_segments_of_a_film_in_two_splits_are_refused_where_they_show_the_same(
    tmp_path: Path, columns: str, first: str, second: str, is_refused: bool
) -> None:
    touch(tmp_path, "film.mp4", "b.mp4")
    rows = (f"film.mp4,x,train,{first}", "b.mp4,y,train,,", f"film.mp4,x,test,{second}")
    manifest = manifest_of(tmp_path, f"path,label,split,{columns}", *rows, val_fraction=0.0)
    if not is_refused:
        return check_files(manifest)
    with pytest.raises(DataError, match=r"film\.mp4.*\(train\).*film\.mp4.*\(test\)"):
        check_files(manifest)


def test_segments_of_a_film_may_have_different_labels(tmp_path: Path) -> None:
    touch(tmp_path, "film.mp4")
    rows = ("film.mp4,x,0,5", "film.mp4,y,4,9", "film.mp4,y,0,4")
    check_files(manifest_of(tmp_path, "path,label,start,end", *rows))


def test_above_a_number_of_rows_no_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_ROWS", 3)
    monkeypatch.setattr(same_file, "MAX_ROWS", 3)
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "c.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    link = spelled(tmp_path, "link", "a.mp4")
    rows = ("a.mp4,x,train", "b.mp4,y,train", f"{link},x,test", "c.mp4,x,test")
    check_files(manifest_of(tmp_path, "path,label,split", *rows, val_fraction=0.0))
    manifest = manifest_of(tmp_path, "path,label,split", *rows, "./a.mp4,x,test", val_fraction=0.0)
    with pytest.raises(DataError, match="1 video stands in two splits"):
        check_files(manifest)


def test_a_quarantine_list_may_name_a_file_by_another_spelling(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    quarantine = tmp_path / "quarantine.csv"
    quarantine.write_text(f"path,reason\n{spelled(tmp_path, 'link', 'a.mp4')},blurred\n")
    rows = ("a.mp4,x,train", "b.mp4,y,train", "c.mp4,x,train")
    manifest = manifest_of(tmp_path, "path,label,split", *rows, val_fraction=0.0, quarantine=quarantine)
    assert [row.path for row in manifest.samples] == ["b.mp4", "c.mp4"]
