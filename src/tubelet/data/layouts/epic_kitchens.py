"""EPIC-KITCHENS-100: one row per annotated action, two heads, noun before verb.

The official CSV files (epic-kitchens-100-annotations): EPIC_100_train.csv and EPIC_100_validation.csv with
narration_id, video_id, start_timestamp, stop_timestamp (HH:mm:ss.SS), verb_class and noun_class (more are ignored);
EPIC_100_noun_classes.csv and EPIC_100_verb_classes.csv with id and key; EPIC_100_video_info.csv with video_id and fps.
EPIC_100_test_timestamps.csv has no labels and is left out. Videos are P01/videos/P01_01.MP4, frame folders
P01/rgb_frames/P01_01/frame_0000000001.jpg; frames have the rate of their video, 59.94 or 50 per second.

The 300 nouns stand before the 97 verbs because ViViT's head has them in that order.
"""

from __future__ import annotations

import re
from functools import partial
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
    whole_number,
)
from tubelet.errors import DataError

HEADS = {"noun": 300, "verb": 97}  # number of classes of each head
_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")


def read_epic(root: Path, config: ManifestConfig) -> LayoutRows:
    """One row per action; the segment is in seconds of its video.

    Raises:
        DataError: no CSV file, a missing column, malformed rows, or frame folders of unknown rate.
    """
    files = annotation_files(
        root,
        config,
        "EPIC_100_train.csv",
        "EPIC_100_validation.csv",
        "EPIC_100_*_classes*.csv",
        "EPIC_100_video_info.csv",
    )
    names = {head: class_names(head, count, files) for head, count in HEADS.items()}
    rates = _rates(files)
    lists = [file for file in files if not re.search("classes|video_info|timestamps", file.path.name)]
    if not lists:
        raise DataError(f"{root}: no list of actions; expected EPIC_100_train.csv or EPIC_100_validation.csv")
    index, notes, rows = FileIndex(root), list[str](), list[Row]()
    for file in lists:
        parse = partial(_row, split=file.split, names=names, index=index, rates=rates, fps=config.frame_fps)
        lines = records(file.path, ",", _COLUMNS)
        rows += parse_each(file.path, lines, parse, notes if config.skip_malformed else None)
    if len(lists) < len(files) and any("timestamps" in file.path.name for file in files):
        notes.append("the test list is published without labels and is left out")
    return LayoutRows(
        root=root,
        rows=rows,
        classes=dict(names),
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=notes + index.notes,
    )


def _row(
    record: dict[str, str],
    split: str | None,
    names: dict[str, tuple[str, ...]],
    index: FileIndex,
    rates: dict[str, float],
    fps: float | None,
) -> Row | None:
    video = cell(record, "video_id")
    start, end = (seconds_of(cell(record, column)) for column in _COLUMNS[1:3])
    check_segment(start, end)
    labels = []
    for head, known in names.items():
        number = whole_number(cell(record, f"{head}_class"), f"the {head} class")
        if number >= len(known):
            raise ValueError(f"{head} class {number} is not one of 0 to {len(known) - 1}")
        labels.append(known[number])
    path = index.find(video)
    if path is None:
        return None
    rate = None
    if index.is_frames(path):
        rate = fps or rates.get(video)
        if rate is None:
            raise ValueError(f"the frame rate of {video} is not known; add EPIC_100_video_info.csv or set frame_fps")
    return Row(path=path, labels=tuple(labels), split=split, start_seconds=start, end_seconds=end, fps=rate)


def class_names(head: str, count: int, files: list[AnnotationFile]) -> tuple[str, ...]:
    """The keys of the classes file in the order of their ids; numbers where that file is not there."""
    path = next((file.path for file in reversed(files) if f"{head}_classes" in file.path.name), None)  # _v2 if there
    if path is None:
        return tuple(str(number) for number in range(count))
    names: dict[int, str] = {}
    for line, record in records(path, ",", ("id", "key")):
        try:
            names[whole_number(cell(record, "id"), "the id")] = cell(record, "key")
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}") from None
    if sorted(names) != list(range(len(names))) or len(set(names.values())) < len(names):
        raise DataError(f"{path}: ids repeat or have gaps, or a key stands twice; expected 0 to {count - 1}")
    return tuple(names[number] for number in sorted(names))


def _rates(files: list[AnnotationFile]) -> dict[str, float]:
    path = next((file.path for file in files if "video_info" in file.path.name), None)
    if path is None:
        return {}
    rates = {}
    for line, record in records(path, ",", ("video_id", "fps")):
        try:
            rates[cell(record, "video_id")] = seconds_of(cell(record, "fps"))
        except ValueError:
            raise DataError(f"{path}: line {line}: expected a video_id and its fps") from None
    return rates
