"""Kinetics 400, 600, 700 and 700-2020: the official CSV files, and videos as the usual downloaders name them.

Columns label, youtube_id, time_start, time_end, split (more are ignored), one file per split, as DeepMind publishes
them. A video is ``<youtube_id>_<time_start>_<time_end>.mp4`` with times of six digits (the ActivityNet downloader,
Crawler/Kinetics, and the CVDF copies), in whatever folder below the root; the file is the segment, so rows carry no
times. Many videos are gone from YouTube; missing videos are counted, named and left out.
"""

from __future__ import annotations

from pathlib import Path

from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.rows import (
    LayoutRows,
    Row,
    cell,
    check_segment,
    parse_each,
    records,
    seconds_of,
    split_of,
)
from tubelet.errors import DataError

_COLUMNS = ("youtube_id", "time_start", "time_end")


def read_kinetics(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of the videos that exist. Classes are those of the CSV files, sorted, as in the usual label maps.

    Raises:
        DataError: no CSV file, a missing column or malformed rows.
    """
    index, notes = FileIndex(root), list[str]()
    classes: set[str] = set()
    rows, unlabeled = list[Row](), 0
    for file in annotation_files(root, config, "*train*.csv", "*val*.csv", "*test*.csv"):
        parser = _Parser(index, classes, file)
        rows += parse_each(
            file.path, records(file.path, ",", _COLUMNS), parser.row, notes if config.skip_malformed else None
        )
        unlabeled += parser.unlabeled
    if unlabeled:
        notes.append(f"{unlabeled} rows without a label left out (the test list is published without)")
    if not classes:
        raise DataError(f"{root}: the lists hold no labels; expected a column 'label'")
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": tuple(sorted(classes))},
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=notes + index.notes,
        grouped_by="the source video in file names",
    )


class _Parser:
    """Rows of one file."""

    def __init__(self, index: FileIndex, classes: set[str], file: AnnotationFile) -> None:
        self.index, self.classes, self.file, self.unlabeled = index, classes, file, 0

    def row(self, record: dict[str, str]) -> Row | None:
        video = cell(record, "youtube_id")
        start, end = (seconds_of(cell(record, column)) for column in _COLUMNS[1:])
        check_segment(start, end)
        split = split_of(cell(record, "split")) if "split" in record else self.file.split
        label = record.get("label", "")
        if not label:
            self.unlabeled += 1
            return None
        self.classes.add(label)
        path = self.index.find(f"{video}_{int(start):06d}_{int(end):06d}")
        return None if path is None else Row(path=path, labels=(label,), split=split, group=video)
