"""Lists without a header, one sample per line, as mmaction2 and PySlowFast read them.

    video.mp4 3                     PySlowFast (slowfast/datasets/kinetics.py) and mmaction2's VideoDataset
    some/frames 163 3               mmaction2's RawframeDataset: frame folder, number of frames, label
    some/frames 12 163 3            the same with_offset: first frame, counted from 0, before the number of frames

The separator is a space, or the one that the file shows or the user names (PySlowFast: DATA.PATH_LABEL_SEPARATOR).
With spaces, all text before the numbers is the path, so that a path may hold spaces. Labels are numbers, or names
without spaces.

Deviation: mmaction2's lists with several labels per video are refused; a row has one label per head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files, class_list
from tubelet.data.layouts.find_files import is_frame_folder, is_sample_file
from tubelet.data.layouts.rows import (
    LayoutRows,
    Row,
    parse_each,
    split_of_file,
    table_lines,
    text_lines,
    whole_number,
)
from tubelet.data.layouts.tables import separator_of
from tubelet.data.sources.frame_folder import UNTIMED_FPS
from tubelet.errors import DataError


def read_lists(source: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of one list, or of the lists among the annotations of a folder. The name of a list gives the split.

    Raises:
        DataError: no list, or malformed lines.
    """
    if source.is_file():
        files = [AnnotationFile(path=source, split=split_of_file(source.name))]
        root = config.root or source.parent
    else:
        files = annotation_files(source, config, "*train*.txt", "*val*.txt", "*test*.txt", "train.csv", "val.csv")
        root = config.root or source
    notes, rows = list[str](), list[Row]()
    for path, split in ((file.path, file.split) for file in files):
        separator = separator_of(path, config.separator)
        if config.separator is None and separator == "," and _looks_spaced(path):
            separator = " "
        lines: Iterator[tuple[int, list[str]]]
        if separator == " ":
            lines = ((line, _from_the_right(text)) for line, text in text_lines(path))
        else:
            lines = table_lines(path, separator)
        parse = partial(_row, split=split, root=root, fps=config.frame_fps)
        rows += parse_each(path, lines, parse, notes if config.skip_malformed else None)
    if not rows:
        raise DataError(f"{files[0].path}: no lines; expected one video and its label per line")
    names = class_list(config.class_file) if config.class_file else _numbered_classes(rows)
    if config.frame_fps is None and any(row.end_seconds is not None for row in rows):
        notes.append("the frame rate of the frame folders is not known, frame numbers stand for seconds; see frame_fps")
    return LayoutRows(root=root, rows=rows, classes={"label": names}, all_classes_known=names is not None, notes=notes)


def _looks_spaced(path: Path) -> bool:
    """Whether a file called .csv is PySlowFast's, which stands with spaces."""
    first = next((line for _, line in text_lines(path)), "")
    return re.fullmatch(r".*\s\d+", first) is not None and not re.search(r",\s*\S+$", first)


def _from_the_right(text: str) -> list[str]:
    """``path label``, ``path count label`` or ``path offset count label``: the path keeps its spaces."""
    match = re.fullmatch(r"(.*?\S)((?:\s+\d+)+)", text)
    if match is None:
        return text.rsplit(maxsplit=1)
    return [match[1], *match[2].split()]


def _row(cells: list[str], split: str | None, root: Path, fps: float | None) -> Row:
    if len(cells) < 2 or not all(cells):
        raise ValueError(f"'{' '.join(cells)}' has no label; expected a path and a label")
    path, label = cells[0], cells[-1]
    if is_sample_file(path):
        if len(cells) > 2:
            raise ValueError(f"{len(cells) - 1} labels of one video, expected one")
        return Row(path=path, labels=(label,), split=split)
    if len(cells) == 2:
        rate = fps if fps is not None and is_frame_folder(root / path) else None
        return Row(path=path, labels=(label,), split=split, fps=rate)
    if len(cells) > 4:
        raise ValueError(f"{len(cells)} cells; expected 'frames count label' or 'frames offset count label'")
    offset = whole_number(cells[1], "the offset") if len(cells) == 4 else 0
    count = whole_number(cells[-2], "the number of frames")
    if count == 0:
        raise ValueError("the number of frames is 0")
    rate = fps or UNTIMED_FPS
    return Row(
        path=path,
        labels=(label,),
        split=split,
        start_seconds=offset / rate if len(cells) == 4 else None,
        end_seconds=(offset + count) / rate,
        fps=fps,
    )


def _numbered_classes(rows: list[Row]) -> tuple[str, ...] | None:
    """All numbers up to the highest where the labels are numbers, so that a label stays its own class index."""
    labels = {row.labels[0] for row in rows}
    if not all(label.isdecimal() for label in labels):
        return None
    return tuple(str(index) for index in range(max(map(int, labels)) + 1))
