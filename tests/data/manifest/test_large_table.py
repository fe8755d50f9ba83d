"""A large table is read as columns to the manifest that reading it row by row gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest import read
from tubelet.data.manifest.columns import large_table, plain_split
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.recorded_split import RecordedSplit
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import DataError

CLASSES = ("wash", "Öffnen", "close", "push, pull")


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes files of which each has its own bytes, and a table of them."""

    def write(columns: str, cells: Callable[[int, str], str], number: int = 40, *, newline: str = "\n") -> Path:
        lines = [columns]
        for row in random.Random(3).sample(range(number), number):
            path = f"{row % 3}/clip é{row}.npy"
            (tmp_path / path).parent.mkdir(exist_ok=True)
            np.save(tmp_path / path, np.full((2, 4, 4), row, dtype=np.uint8))
            lines.append(cells(row, path))
        (tmp_path / "rows.csv").write_bytes((newline.join(lines) + newline).encode())
        return tmp_path / "rows.csv"

    return write


@pytest.fixture
def is_large(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the number of rows from which on a table is large."""
    return lambda number: monkeypatch.setattr(large_table, "MAX_ROWS", number)


def assert_same(ours: Manifest, theirs: Manifest) -> None:
    assert ours == theirs
    assert ours.fingerprint == theirs.fingerprint
    names = ("folder", "missing", "label_findings", "split_origin", "split_text")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def label(row: int) -> str:
    return f'"{CLASSES[row % 7 % 4]}"'


PLAIN: dict[str, tuple[str, Callable[[int, str], str], dict[str, Any]]] = {
    "no split": ("path,label", lambda row, path: f"{path},{label(row)}", {}),
    "another seed": ("path,label", lambda row, path: f"{path},{label(row)}", {"split_seed": 3, "val_fraction": 0.3}),
    "a class of two": ("path,label", lambda row, path: f"{path},{'ab'[row > 1]}", {"test_fraction": 0.5}),
    "files alone": ("path,label", lambda row, path: f"{path},{label(row)}", {"split_by": "files"}),
    "no validation": (
        "path,label,split",
        lambda row, path: f"{path},{label(row)},{'Training' if row % 5 else 'test'}",
        {},
    ),
    "all splits": (
        "split,label,path",
        lambda row, path: f"{('train', 'VAL', 'test')[row % 3]},{label(row)},{path}",
        {},
    ),
    "times": (
        "path,label,start,end_seconds,fps,note",
        lambda row, path: f"{path}, {label(row)[1:-1].replace(',', '')} ,{row / 3 if row % 2 else ''},{row + 1},,x",
        {},
    ),
    "clock times": ("path,label,start,end", lambda row, path: f"{path},{'ab'[row % 2]},0:{row},1:{row}.5", {}),
    "groups": (
        "path,label,patient,split",
        lambda row, path: f"{path},{label(row)},{f'p{row // 4}' if row % 5 else ''},{'train' if row % 7 else 'val'}",
        {},
    ),
    "groups of one split": (
        "path,label,match,group,split",
        lambda row, path: f"{path},{label(row)},{row % 6},x,{'train' if row % 6 else 'val'}",
        {"group_column": "match"},
    ),
    "groups left aside": (
        "path,label,group",
        lambda row, path: f"{path},{label(row)},{row // 4}",
        {"split_by": "files"},
    ),
    "numbers": ("path,label", lambda row, path: f"{path},{row % 11}", {}),
    "names of numbers": (
        "path,label",
        lambda row, path: f"{path},{row % 3}",
        {"class_names": {"label": ("zero", "one", "two", "three")}},
    ),
    "alike": ("path,label", lambda row, path: f"{path},{('Run', 'run', 'nan', 'None')[row % 4]}", {}),
    "two heads": (
        "path,verb,noun,split",
        lambda row, path: f"{path},{'ab'[row % 2]},{('', 'c', 'd')[row % 3]},{'train' if row % 4 else 'val'}",
        {"label_columns": ("verb", "noun")},
    ),
    "an index and blank lines": (
        ",path,label",
        lambda row, path: f"{row},{path},{label(row)}{chr(10) * (row % 2)}",
        {},
    ),
    "semicolons": ("path;label", lambda row, path: f"{path};{label(row)}", {}),
    "other columns": (
        "file,kind",
        lambda row, path: f"{path},{label(row)}",
        {"path_column": "file", "label_columns": ("kind",)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("options", [{}, {"is_checked": False}, {"makes_splits": False, "is_checked": False}])
def test_a_plain_table_gives_the_same_manifest(
    name: str, options: dict[str, bool], table: Callable[..., Path], is_large: Callable[[int], None]
) -> None:
    columns, cells, fields = PLAIN[name]
    file, config = table(columns, cells), ManifestConfig(**fields)
    expected = read.read_manifest(file, config, **options)
    is_large(39)
    assert large_table.read_large_table(file, config, **options) is not None
    assert_same(read.read_manifest(file, config, **options), expected)


def test_a_recorded_split_is_kept(table: Callable[..., Path], is_large: Callable[[int], None]) -> None:
    file = table(*PLAIN["no split"][:2])
    recorded = RecordedSplit.of(read.read_manifest(file, ManifestConfig(split_seed=9)))
    expected = read.read_manifest(file, recorded=recorded)
    is_large(39)
    assert large_table.read_large_table(file, ManifestConfig(), recorded=recorded) is not None
    assert_same(read.read_manifest(file, recorded=recorded), expected)
    assert read.read_manifest(file).samples != expected.samples


def test_a_written_manifest_gives_the_same_rows(table: Callable[..., Path], is_large: Callable[[int], None]) -> None:
    for name in ("times", "two heads", "no split", "groups", "groups of one split"):
        columns, cells, fields = PLAIN[name]
        file = table(columns, cells)
        made = read.read_manifest(file, ManifestConfig(**fields))
        written = file.with_name("written.csv")
        rows = [replace(row, entry=f"m{i}@512+{i}" if i % 3 else None) for i, row in enumerate(made.samples)]
        write_manifest(replace(made, samples=rows), written)
        expected = read.read_manifest(written)
        is_large(39)
        assert large_table.read_large_table(written, ManifestConfig()) is not None
        assert_same(read.read_manifest(written), expected)
        is_large(100_000)


OTHER: dict[str, tuple[str, Callable[[int, str], str]]] = {
    "groups to split by": ("path,label,group", lambda row, path: f"{path},{label(row)},{row // 4}"),
    "a file of two rows": ("path,label", lambda row, path: f"{path if row else '0/clip é3.npy'},{'ab'[row // 3 % 2]}"),
    "spelled otherwise": ("path,label", lambda row, path: f"{'./' * (row == 5)}{path},{label(row)}"),
    "a label that a spreadsheet would run": (
        "path,label",
        lambda row, path: f"{path},{chr(39) * (row % 2)}={row % 2}a",
    ),
    "one hot": ("path,a,b", lambda row, path: f"{path},{row % 2},{1 - row % 2}"),
    "frames": ("path,label,start_frame", lambda row, path: f"{path},{label(row)},{row % 2}"),
}
MALFORMED: dict[str, tuple[str, Callable[[int, str], str]]] = {
    "a cell too many": ("path,label", lambda row, path: f"{path},{label(row)}{',x' * (row == 7)}"),
    "no label": ("path,label", lambda row, path: f"{path},{label(row) if row != 7 else ''}"),
    "no path": ("path,label", lambda row, path: f"{path if row != 7 else ''},{label(row)}"),
    "another split": ("path,label,split", lambda row, path: f"{path},{label(row)},{'trian' if row == 7 else 'train'}"),
    "no time": ("path,label,start", lambda row, path: f"{path},{label(row)},{'soon' if row == 7 else '1'}"),
    "an end before the start": ("path,label,start,end", lambda row, path: f"{path},{label(row)},{row},7"),
    "a missing file": ("path,label", lambda row, path: f"{path}{'x' * (row == 7)},{label(row)}"),
    "one class": ("path,label", lambda row, path: f"{path},a"),
    "a class without training": ("path,label,split", lambda row, path: f"{path},{row},{'train' if row < 9 else 'val'}"),
    "an open quote": ("path,label", lambda row, path: f'{path},{chr(34) * (row == 7)}a'),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_is_not_plain_is_read_row_by_row(
    name: str, table: Callable[..., Path], is_large: Callable[[int], None]
) -> None:
    file = table(*OTHER[name])
    expected = read.read_manifest(file)
    is_large(30)
    assert large_table.read_large_table(file, ManifestConfig()) is None
    assert_same(read.read_manifest(file), expected)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_wrong_is_refused_with_the_same_words(
    name: str, table: Callable[..., Path], is_large: Callable[[int], None]
) -> None:
    file = table(*MALFORMED[name])
    with pytest.raises(DataError) as expected:
        read.read_manifest(file)
    is_large(30)
    with pytest.raises(DataError) as found:
        read.read_manifest(file)
    assert str(found.value) == str(expected.value)


def test_of_very_many_rows_no_file_is_touched(
    table: Callable[..., Path], is_large: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cells(row: int, path: str) -> str:
        return f"nowhere/{row}.mp4,{label(row)}"

    file = table("path,label", cells)
    is_large(30)
    monkeypatch.setattr(plain_split, "MAX_CLIPS", 20)
    for module in (large_table, plain_split):
        monkeypatch.setattr(module, "MAX_LOOKED_AT", 25)
    monkeypatch.setattr("tubelet.data.manifest.manifest.MAX_LOOKED_AT", 25)
    manifest = read.read_manifest(file)
    assert (len(manifest), manifest.splits) == (40, ("train", "val", "test"))
    assert manifest.fingerprint.startswith("rows-")
    notes = "\n".join(manifest.notes)
    assert "near-copies were not looked for: there are more than 20 files" in notes
    assert "files are not looked at before they are read" in notes
    check_files(manifest)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "rows.csv"}


@pytest.mark.parametrize(("num_videos", "kept"), [(0, "files"), (9, None), (11, "files, near-copies not looked for")])
def test_of_very_many_rows_so_few_videos_are_looked_at_as_always(
    num_videos: int,
    kept: str | None,
    table: Callable[..., Path],
    is_large: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = table("path,label", lambda row, path: f"{path[:-4]}.{'mp4' if row < num_videos else 'npy'},{label(row)}")
    is_large(30)
    monkeypatch.setattr(plain_split, "MAX_CLIPS", 10)
    for module in (large_table, plain_split):
        monkeypatch.setattr(module, "MAX_LOOKED_AT", 25)
    read_as_columns = large_table.read_large_table(file, ManifestConfig())
    assert (read_as_columns and read_as_columns[0].split_origin.kept_together) == kept


def test_a_table_without_splits_can_be_evaluated_on(
    table: Callable[..., Path], is_large: Callable[[int], None]
) -> None:
    file = table(*PLAIN["no split"][:2])
    whole = read.read_manifest(file, makes_splits=False)
    assert whole.splits == ("test",)
    is_large(30)
    assert_same(read.read_manifest(file, makes_splits=False), whole)


def test_a_file_in_two_splits_of_many_rows_is_found(table: Callable[..., Path]) -> None:
    file = table("path,label,split", lambda row, path: f"{path},{label(row)},{'train' if row % 2 else 'val'}")
    with file.open("a") as stream:
        stream.write('0/clip é3.npy,"wash",test\n')
    with pytest.raises(DataError, match=r"1 video stands in two splits: 0/clip é3\.npy"):
        check_files(read.read_manifest(file))
