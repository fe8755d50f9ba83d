from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from support import assert_one_line, touch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.failure_budget import FailureBudget
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = (f"{name}/{i}.mp4" for name in "ab" for i in range(10))
    return touch(tmp_path / "data", *names)


def quarantined(data: Path, text: str) -> ManifestConfig:
    file = data.parent / "quarantine.csv"
    file.write_text(text, encoding="utf-8")
    return ManifestConfig(quarantine=file)


def test_listed_rows_are_left_out_and_all_others_keep_their_split(data: Path) -> None:
    whole = read_manifest(data)
    config = quarantined(data, f"path,reason\na/3.mp4,blurred\n{data}/b/./0.mp4,\nb/99.mp4,no such file\n")
    kept = read_manifest(data, config)
    assert kept.samples == tuple(row for row in whole.samples if row.path not in ("a/3.mp4", "b/0.mp4"))
    assert kept.fingerprint != whole.fingerprint
    notes = [note for note in kept.notes if "quarantine" in note]
    assert notes == [
        f"2 of 20 rows left out by the quarantine list {config.quarantine}: a/3.mp4 (blurred), b/0.mp4",
        f"1 of 3 lines of the quarantine list {config.quarantine} meet no row",
    ]


def test_a_list_with_a_header_alone_leaves_out_nothing(data: Path) -> None:
    config = quarantined(data, "path,reason,split,start_seconds,end_seconds\n")
    assert read_manifest(data, config) == read_manifest(data)


def test_a_file_on_the_list_may_be_gone(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(4)))
    table = tmp_path / "rows.csv"
    table.write_text("path,label,split\n" + "".join(f"{i}.mp4,{'ab'[i % 2]},train\n" for i in range(5)))
    list_ = tmp_path / "q.csv"
    list_.write_text("path\n4.mp4\n")
    assert len(read_manifest(table, ManifestConfig(val_fraction=0.0, quarantine=list_))) == 4


@pytest.mark.parametrize("columns", ["start,end", "start_frame,end_frame"])
def test_the_list_of_unreadable_segments_leaves_the_rest_of_their_film_in(tmp_path: Path, columns: str) -> None:
    touch(tmp_path, "film.mp4", "b.mp4")
    table = tmp_path / "rows.csv"
    table.write_text(f"path,label,{columns}\n" + "".join(f"film.mp4,{'ab'[i % 2]},{i},{i + 1}\n" for i in range(6)))
    config = ManifestConfig(val_fraction=0.0, test_fraction=0.0)
    manifest = read_manifest(table, config)
    FailureBudget(manifest, 1.0, "videos", file=tmp_path / "unreadable.csv").add({1: "broken", 4: "broken"})
    kept = read_manifest(table, dataclasses.replace(config, quarantine=tmp_path / "unreadable.csv"))
    assert kept.samples == tuple(row for i, row in enumerate(manifest.samples) if i not in (1, 4))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["is no quarantine list", "an empty file"]),
        ("file,reason\na,b\n", ["expected columns path, reason", "got file, reason"]),
        ("path,reason\na/1.mp4\n", ["line 2", "as many cells as columns"]),
        ("path,start_seconds\na/1.mp4,soon\n", ["line 2", "soon"]),
        ("path\n" + "".join(f"{name}/{i}.mp4\n" for name in "ab" for i in range(10)), ["leaves none of the 20 rows"]),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(data: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(data, quarantined(data, text))
    assert_one_line(caught, "quarantine.csv", *parts)
