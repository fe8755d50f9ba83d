"""The clips of a probe: all of them whatever splits they state, and what shows the same footage belongs together."""

from __future__ import annotations

from pathlib import Path

import pytest

from copied_films import brighter, film, write
from support import Notes
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.groups import units_of
from tubelet.errors import ConfigError, DataError
from tubelet.probing.clips import read_clips
from tubelet.recipe import DataConfig
from tubelet.session.session import Session


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films in two classes; each in train, and brighter in val or test."""
    root = tmp_path_factory.mktemp("footage")
    for number in range(6):
        frames, label = film(number, 30), "ab"[number % 2]
        write(root / "train" / label / f"f{number}.mp4", frames)
        write(root / ("val", "test")[number // 2 % 2] / label / f"g{number}.mp4", brighter(frames), crf=30)
    return root


def units_by_path(data: DataConfig, notes: Notes) -> dict[str, str]:
    manifest, _ = read_clips(data, 3, Session(progress=notes))
    return dict(zip([s.path for s in manifest.samples], units_of(manifest.samples), strict=True))


def test_near_copies_in_stated_splits_are_one_unit(footage: Path) -> None:
    notes = Notes()
    unit_of = units_by_path(DataConfig(source=str(footage)), notes)
    assert len(unit_of) == 12
    films = {Path(path).stem[1:]: set[str]() for path in unit_of}
    for path, unit in unit_of.items():
        films[Path(path).stem[1:]].add(unit)
    assert all(len(units) == 1 for units in films.values())
    assert len(set(unit_of.values())) == 6
    assert "cross-validates all 12 clips; stated splits train/val/test are not kept apart" in notes.notes
    assert not any("split off" in note or "lie in several" in note for note in notes.notes)


def test_stated_groups_and_near_copies_are_joined(footage: Path, tmp_path: Path) -> None:
    files = sorted(footage.glob("*/*/*.mp4"))
    rows = [f"{file},{file.parent.name},{'p' if file.stem in ('f0', 'f2') else file.stem}" for file in files]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,patient", *rows]) + "\n", encoding="utf-8")
    unit_of = {Path(path).stem: unit for path, unit in units_by_path(DataConfig(source=str(table)), Notes()).items()}
    assert len({unit_of[name] for name in ("f0", "f2", "g0", "g2")}) == 1
    assert len(set(unit_of.values())) == 5
    notes = Notes()
    alone = DataConfig(source=str(table), manifest=ManifestConfig(split_by="files"))
    assert len(set(units_by_path(alone, notes).values())) == 12


def test_folds_of_training_are_refused(footage: Path) -> None:
    data = DataConfig(source=str(footage), manifest=ManifestConfig(folds=5))
    with pytest.raises(ConfigError, match="give --folds, and leave"):
        read_clips(data, 3, Session())


def test_too_few_groups_are_refused_before_any_encoder_is_read(footage: Path) -> None:
    with pytest.raises(DataError, match="6 groups cannot be parted into 7 folds; give --folds 6"):
        read_clips(DataConfig(source=str(footage)), 7, Session())


def test_a_row_that_stands_twice_counts_once_and_is_said(footage: Path, tmp_path: Path) -> None:
    files = sorted(footage.glob("train/*/*.mp4"))
    table = tmp_path / "table.csv"
    rows = [f"{file},{file.parent.name}" for file in (*files, files[0])]
    table.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    manifest, notes = read_clips(DataConfig(source=str(table)), 3, Session())
    assert len(manifest) == 6
    assert notes[0] == "1 row repeats an earlier one and is left out"


def test_joined_labels_that_became_classes_are_named_with_the_option_that_parts_them(
    footage: Path, tmp_path: Path
) -> None:
    files = sorted(footage.glob("train/*/*.mp4"))
    table, notes = tmp_path / "table.csv", Notes()
    rows = [f"{file},{file.parent.name}{';odd' * (i % 2)}" for i, file in enumerate(files)]
    table.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    read_clips(DataConfig(source=str(table)), 3, Session(progress=notes))
    (line,) = (note for note in notes.notes if "label_separator" in note)
    assert "'a;odd'" in line
    assert "--data.manifest.label_separator ';'" in line
    parted = DataConfig(source=str(table), manifest=ManifestConfig(label_separator=";"))
    manifest, _ = read_clips(parted, 3, Session())
    assert manifest.class_names == {"label": ("a", "b", "odd")}
