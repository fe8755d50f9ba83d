"""Footage without labels: every video, volume and frame folder below a folder, or the rows of a table of paths.

Which of a folder's names are classes nobody says, so none are. Splits are those that a table states; a folder has none.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.find_files import is_frame_folder, sources_below
from tubelet.data.layouts.folders import has_split_folders
from tubelet.data.layouts.rows import LayoutRows, Row
from tubelet.data.layouts.tables import read_tables
from tubelet.data.layouts.tools.recognize import recognized
from tubelet.errors import DataError

_TABLES = (".csv", ".tsv")


def read_unlabeled(source: Path, config: ManifestConfig) -> LayoutRows:
    """Rows without labels, sorted by path, or in the order of the table.

    Raises:
        DataError: no footage there, or a table that cannot be read.
    """
    if source.is_file() and source.suffix.lower() in _TABLES:
        return dataclasses.replace(read_tables(source, config, has_labels=False), layout="unlabeled")
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder with videos, or a .csv file with a column {config.path_column}")
    found = sources_below(source)
    if not found:
        raise DataError(f"{source}: no videos, .npy or .nii volumes or frame folders in it or below it")
    rows = [
        Row(
            path=file.relative_to(source).as_posix(),
            labels=(),
            split=None,
            fps=config.frame_fps if is_frame_folder(file) else None,
        )
        for file in found
    ]
    return LayoutRows(root=source, rows=rows, classes={}, layout="unlabeled")


def without_labels(source: Path, config: ManifestConfig) -> ManifestConfig:
    """How footage is read whose labels do not matter: as the data set it is, if it is one, else as unlabeled.

    A folder counts as a data set when it has split folders, or class folders that hold all footage below it, of at
    least two classes; a table when it has the columns of labels. Of unlabeled footage nothing is split off for test.
    """
    if recognized(source, config) is not None or not _is_unlabeled(source, config):
        return config
    return dataclasses.replace(config, layout="unlabeled", test_fraction=0.0)


def _is_unlabeled(source: Path, config: ManifestConfig) -> bool:
    if source.is_file() and source.suffix.lower() in _TABLES:
        with source.open(encoding="utf-8-sig", errors="replace") as stream:
            header = stream.readline().rstrip("\n")
        return not any(name in header for name in config.label_columns)
    if not source.is_dir() or has_split_folders(source):
        return False
    parts = [file.relative_to(source).parts for file in sources_below(source)]
    return not parts or any(not 2 <= len(part) <= 3 for part in parts) or len({part[0] for part in parts}) < 2
