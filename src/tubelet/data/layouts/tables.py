"""Tables with a header: a column ``path`` and one or several label columns.

Optional columns are ``split``; the segment as ``start_seconds``, ``end_seconds`` (or ``start``, ``end``; seconds or
clock times) or as ``start_frame``, ``end_frame``; ``fps`` of a frame folder; ``entry`` inside an archive; ``group``,
``patient`` or ``subject``, the first of which says what belongs into one split. A note names all others. Without a
label column, columns that hold 0 and 1 alone are classes (``one_hot``). A label that was written so that no spreadsheet
runs it as a formula is read as it was (``bouts.cells``).

The separator is a comma, or the one that the file shows: a tab in ``.tsv``, else the one in the header line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.layouts.bouts.cells import read_cell
from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files, class_list
from tubelet.data.layouts.find_files import is_frame_folder
from tubelet.data.layouts.one_hot import OneHot, one_hot_columns
from tubelet.data.layouts.rows import (
    LayoutRows,
    Record,
    Row,
    cell,
    check_segment,
    parse_each,
    records,
    seconds_of,
    split_of,
    whole_number,
)
from tubelet.errors import DataError

GROUP_COLUMNS = ("group", "patient", "subject")
TIME_COLUMNS = (("start_seconds", "start"), ("end_seconds", "end"))
FRAME_COLUMNS = ("start_frame", "end_frame")
USED_COLUMNS = frozenset(("split", "fps", "entry", *FRAME_COLUMNS, *(name for names in TIME_COLUMNS for name in names)))


def read_tables(source: Path, config: ManifestConfig, *, has_labels: bool = True) -> LayoutRows:
    """Rows of a table, or of the tables among the annotations of a folder, in file order.

    Args:
        has_labels: whether columns with labels are read. Without them rows have none, and there is no head.

    Raises:
        DataError: a column is missing, or rows are malformed; the message names lines and reasons.
    """
    if source.is_file():
        files, root = [AnnotationFile(path=source, split=None)], config.root or source.parent
    else:
        files, root = annotation_files(source, config, "*.csv", "*.tsv"), config.root or source
    required, hint = (config.path_column,), "; name it with --path-column"
    tables = [list(records(file.path, separator_of(file.path, config.separator), required, hint)) for file in files]
    if not any(tables):
        raise DataError(f"{files[0].path}: no rows below the header; expected one line per video")
    group_column = _group_column(tables, config)
    columns_of_labels = config.label_columns if has_labels else ()
    used = {config.path_column, *columns_of_labels, *USED_COLUMNS, *([group_column] if group_column else [])}
    hot = None
    if has_labels and not config.numbers and config.label_columns == ManifestConfig().label_columns:
        hot = one_hot_columns(tables, used, multi_label=config.label_separator is not None)
    notes, rows = [] if hot is None else [hot.note], list[Row]()
    for file, table in zip(files, tables, strict=True):
        parser = _Parser(config, columns_of_labels, root, file.split, hot, group_column)
        parser.check_columns(file.path, table)
        rows += parse_each(file.path, table, parser.row, notes if config.skip_malformed else None)
    columns = dict.fromkeys(name for table in tables for _, record in table[:1] for name in record if name)
    notes += unused_columns(columns, used | set(hot.columns if hot else ()))
    names = class_list(config.class_file) if config.class_file else hot.columns if hot else None
    return LayoutRows(
        root=root,
        rows=rows,
        classes=dict.fromkeys(columns_of_labels, names),
        label_separator=hot.separator if hot else None,
        layout="csv",
        notes=notes,
        grouped_by=f"column '{group_column}'" if group_column else None,
    )


def _group_column(tables: Sequence[Sequence[tuple[int, Record]]], config: ManifestConfig) -> str | None:
    """The column with the group of each row: the one that the user names, or the first that is called as one."""
    header = dict.fromkeys(name for table in tables for _, record in table[:1] for name in record)
    if config.group_column is not None and config.group_column not in header:
        raise DataError(f"no column '{config.group_column}' (group_column); columns present: {', '.join(header)}")
    names = (name for name in GROUP_COLUMNS if name in header and name not in config.label_columns)
    return config.group_column or next(names, None)


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


@dataclass(frozen=True)
class _Parser:
    """Rows of one table."""

    config: ManifestConfig
    label_columns: tuple[str, ...]  # empty where rows have no labels
    root: Path
    split: str | None  # of rows that do not name one
    hot: OneHot | None  # what stands in place of label columns
    group_column: str | None

    def check_columns(self, path: Path, table: Sequence[tuple[int, Record]]) -> None:
        """Raise DataError when a label column is missing."""
        present = next((record for _, record in table if "" not in record), {})
        for column in self.label_columns if present and not self.hot else ():
            if column not in present:
                raise DataError(
                    f"{path}: no column '{column}'; columns present: {', '.join(present)}; name the label column with "
                    "--label-column (several, one per head of the model: label_columns)"
                )

    def row(self, record: Record) -> Row:
        """Make one row. Raises ValueError with the reason if it is malformed."""
        path, columns = cell(record, self.config.path_column), self.label_columns
        labels = (self.hot.label(record),) if self.hot else tuple(read_cell(record[column]) for column in columns)
        if columns and not any(labels) and self.config.label_separator is None and not self.hot:
            raise ValueError(f"{' and '.join(map(repr, columns))} {'is' if len(columns) == 1 else 'are'} empty")
        start, end = (_optional_seconds(record, names) for names in TIME_COLUMNS)
        check_segment(start, end)
        frames = (None, None) if (start, end) != (None, None) else _frames(record)
        rate = _optional_seconds(record, ("fps",))
        if rate is None and self.config.frame_fps is not None and is_frame_folder(self.root / path):
            rate = self.config.frame_fps
        return Row(
            path=path,
            labels=labels,
            split=split_of(cell(record, "split")) if "split" in record else self.split,
            start_seconds=start,
            end_seconds=end,
            fps=rate,
            entry=record.get("entry") or None,
            start_frame=frames[0],
            end_frame=frames[1],
            group=(record.get(self.group_column) or None) if self.group_column else None,
        )


def _optional_seconds(record: Record, names: tuple[str, ...]) -> float | None:
    text = next((record[name] for name in names if record.get(name)), None)
    return None if text is None else seconds_of(text)


def _frames(record: Record) -> tuple[int | None, int | None]:
    first, stop = (
        whole_number(record[name].removesuffix(".0"), name) if record.get(name) else None for name in FRAME_COLUMNS
    )
    if stop is not None and stop <= (first or 0):
        raise ValueError(f"the segment ends before frame {stop}, not after its first frame {first or 0}")
    return first, stop


def unused_columns(columns: Iterable[str], used: set[str]) -> list[str]:
    """A note that names the columns that nothing reads, and one on how frames are counted."""
    columns = dict.fromkeys(columns)
    notes = []
    if set(FRAME_COLUMNS) & columns.keys():
        timed = {name for names in TIME_COLUMNS for name in names} & columns.keys()
        else_seconds = f" where {' and '.join(sorted(timed))} are empty" if timed else ""
        notes.append(
            f"start_frame and end_frame count from 0, end_frame is the first frame after the segment{else_seconds}"
        )
    if unused := [name for name in columns if name not in used]:
        notes.append(
            f"not used: {'column' if len(unused) == 1 else 'columns'} {', '.join(unused)}; known are path and label "
            "(or those that --path-column and --label-column name), "
            f"{', '.join(sorted((*USED_COLUMNS, *GROUP_COLUMNS)))}"
        )
    return notes
