"""Tables with a header: columns ``path`` and one or several label columns; optional ``split``, ``start_seconds``,
``end_seconds`` (or ``start``, ``end``), ``fps`` of a frame folder and ``entry`` inside an archive.

The separator is a comma, or the one that the file shows: a tab in ``.tsv``, else the one in the header line.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files, class_list
from tubelet.data.layouts.find_files import is_frame_folder
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

_TIME_COLUMNS = (("start_seconds", "start"), ("end_seconds", "end"))


def read_tables(source: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of a table, or of the tables among the annotations of a folder, in file order.

    Raises:
        DataError: a column is missing, or rows are malformed; the message names lines and reasons.
    """
    if source.is_file():
        files, root = [AnnotationFile(path=source, split=None)], config.root or source.parent
    else:
        files, root = annotation_files(source, config, "*.csv", "*.tsv"), config.root or source
    notes, rows = list[str](), list[Row]()
    for path, split in ((file.path, file.split) for file in files):
        parse = partial(
            _row,
            columns=config.label_columns,
            may_have_none=config.label_separator is not None,
            split=split,
            root=root,
            fps=config.frame_fps,
        )
        separator, columns = separator_of(path, config.separator), ("path", *config.label_columns)
        lines = records(path, separator, columns, "; label columns are named by label_columns")
        rows += parse_each(path, lines, parse, notes if config.skip_malformed else None)
    if not rows:
        raise DataError(f"{files[0].path}: no rows below the header; expected one line per video")
    names = class_list(config.class_file) if config.class_file else None
    return LayoutRows(
        root=root, rows=rows, classes=dict.fromkeys(config.label_columns, names), layout="csv", notes=notes
    )


def separator_of(path: Path, given: str | None) -> str:
    """The separator between cells.

    It is the given one; a tab in ``.tsv``; else the first of tab, semicolon and comma in the first line; else a comma
    in ``.csv`` and a space in other files.
    """
    if given is not None:
        return given
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return next((sign for sign in "\t;," if sign in first), "," if path.suffix.lower() == ".csv" else " ")


def _row(
    record: dict[str, str],
    columns: tuple[str, ...],
    may_have_none: bool,
    split: str | None,
    root: Path,
    fps: float | None,
) -> Row:
    """Make one row. Raises ValueError with the reason if it is malformed."""
    path = cell(record, "path")
    labels = tuple(record[column] for column in columns)
    if not any(labels) and not may_have_none:
        raise ValueError(f"{' and '.join(map(repr, columns))} {'is' if len(columns) == 1 else 'are'} empty")
    if "split" in record:
        split = split_of(cell(record, "split"))
    start, end = (_optional_seconds(record, names) for names in _TIME_COLUMNS)
    check_segment(start, end)
    rate = _optional_seconds(record, ("fps",))
    if rate is None and fps is not None and is_frame_folder(root / path):
        rate = fps
    return Row(
        path=path,
        labels=labels,
        split=split,
        start_seconds=start,
        end_seconds=end,
        fps=rate,
        entry=record.get("entry") or None,
    )


def _optional_seconds(record: dict[str, str], names: tuple[str, ...]) -> float | None:
    text = next((record[name] for name in names if record.get(name)), None)
    return None if text is None else seconds_of(text)
