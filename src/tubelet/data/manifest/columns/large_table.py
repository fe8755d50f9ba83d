"""A table of many plain rows, to its manifest without an object for any row.

It says what ``tubelet.data.manifest.read`` makes of the same table row by row, with the same notes. Where anything in
it is not plain (groups to split by, several labels, rows to leave out, a missing file, a bad line), it says nothing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tubelet.data.layouts.config import MAX_LOOKED_AT, ManifestConfig, class_list
from tubelet.data.layouts.find_files import is_frame_folder
from tubelet.data.layouts.frame_counts import missing_frames_notes
from tubelet.data.layouts.rows import INDEX_COLUMN, SPLIT_NAMES, SPLITS
from tubelet.data.layouts.tables import (
    FRAME_COLUMNS,
    GROUP_COLUMNS,
    TIME_COLUMNS,
    USED_COLUMNS,
    separator_of,
    unused_columns,
)
from tubelet.data.manifest.columns.parse import TIMES, NotPlain, ParsedTable, TableFormat, parse_table
from tubelet.data.manifest.columns.plain_split import PlainSplit
from tubelet.data.manifest.columns.rows import Columns, Rows
from tubelet.data.manifest.columns.texts import Texts
from tubelet.data.manifest.csv_file import COLUMNS as WRITTEN
from tubelet.data.manifest.csv_file import chosen_heads, facts_above, is_manifest_file
from tubelet.data.manifest.labels import LabelFinding, findings_of, names_that_occur, numbered_notes
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import OnFile
from tubelet.data.manifest.recorded_split import RecordedSplit
from tubelet.data.manifest.same_file import MAX_ROWS
from tubelet.errors import ConfigError, DataError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Stated:
    """What a table states of all its rows."""

    root: Path
    table: ParsedTable
    classes: dict[str, tuple[str, ...] | None]  # of each head; None means the names that occur
    layout: str = "csv"
    all_classes_known: bool = False
    splits_decided: bool = False
    grouped_by: str | None = None  # what states groups, in words
    notes: list[str] = field(default_factory=list)


def read_large_table(
    source: Path,
    config: ManifestConfig,
    *,
    is_checked: bool = True,
    makes_splits: bool = True,
    recorded: RecordedSplit | None = None,
    on_file: OnFile = lambda done, total: None,
) -> tuple[Manifest, bool] | None:
    """Read a table of more than ``MAX_ROWS`` plain rows. Arguments are those of ``read_manifest``.

    Returns:
        The manifest, and whether the table lists its classes itself. None means that its rows have to be read one by
        one: they are fewer, or not plain, or the table cannot be read.
    """
    is_table = source.is_file() and config.layout in (None, "csv") and source.suffix.lower() in (".csv", ".tsv")
    is_asked_more = config.label_separator or config.quarantine or config.test_whole_video or config.folds
    is_asked_more = is_asked_more or config.train_fraction != 1
    if not is_table or is_asked_more or config.group_pattern or config.frame_fps is not None:
        return None
    if config.annotations or not _has_many_lines(source):
        return None
    try:
        stated = _written(source, config) if is_manifest_file(source) else _stated(source, config)
        if len(stated.table) <= MAX_ROWS:
            return None
        return _manifest(source, stated, config, is_checked, makes_splits, recorded, on_file)
    except (NotPlain, DataError, ConfigError, OSError, csv.Error, UnicodeDecodeError):
        return None  # reading row by row comes to the same, and says it


def _has_many_lines(source: Path) -> bool:
    count = 0
    with source.open("rb") as file:
        while count <= MAX_ROWS and (block := file.read(_BLOCK_BYTES)):
            count += block.count(b"\n")
    return count > MAX_ROWS


def _stated(source: Path, config: ManifestConfig) -> _Stated:
    """A table as ``layouts.tables`` reads it."""
    separator, labels = separator_of(source, config.separator), config.label_columns
    with source.open(encoding="utf-8-sig", newline="") as stream:
        cells = next(csv.reader(stream, strict=True, delimiter=separator), [])
        header = ["" if INDEX_COLUMN.fullmatch(name.strip()) else name.strip() for name in cells]
        named = [name for name in header if name]
        times = {of[0]: [name for name in of if name in header] for of in (*TIME_COLUMNS, ("fps",))}
        is_plain = {config.path_column, *labels} <= {*named} and len({*named}) == len(named)
        group = config.group_column or next((n for n in GROUP_COLUMNS if n in header and n not in labels), None)
        is_plain &= group is None or group in named
        if not is_plain or {*FRAME_COLUMNS} & {*named} or any(len(of) > 1 for of in times.values()):
            raise NotPlain
        layout = TableFormat(
            path=config.path_column,
            labels=labels,
            split="split" if "split" in header else None,
            entry="entry" if "entry" in header else None,
            group=group,
            times={name: columns[0] for name, columns in times.items() if columns},
        )
        table = parse_table(stream, header, layout, separator)
    names = class_list(config.class_file) if config.class_file else None
    used = {config.path_column, *labels, *USED_COLUMNS, *([group] if group else [])}
    return _Stated(
        root=config.root or source.parent,
        table=table,
        classes=dict.fromkeys(labels, names),
        grouped_by=f"column '{group}'" if group else None,
        notes=unused_columns(named, used),
    )


def _written(source: Path, config: ManifestConfig) -> _Stated:
    """A written manifest as ``csv_file`` reads it."""
    with source.open(encoding="utf-8", newline="") as stream:
        facts, line = facts_above(source, stream)
        classes = {head: tuple(names) for head, names in facts["classes"].items()}
        heads, header = chosen_heads(source, tuple(classes), config), line.rstrip("\r\n").split(",")
        group = "group" if "group" in header and "group" not in classes else None
        if header != [*WRITTEN, *([group] if group else []), *classes] or "label_separator" in facts:
            raise NotPlain
        if config.group_column and not group:
            raise NotPlain
        times = {name: name for name in TIMES}
        layout = TableFormat(
            path="path", labels=heads, split="split", entry="entry", group=group, times=times, is_stripped=False
        )
        table = parse_table(stream, header, layout)
    for head, codes in zip(heads, table.labels, strict=True):
        if not codes.keys() - {""} <= {*classes[head]}:
            raise NotPlain
    if not table.splits.keys() <= {*SPLITS}:
        raise NotPlain
    return _Stated(
        root=config.root or Path(os.path.normpath(source.parent / facts["root"])),
        table=table,
        classes={head: classes[head] for head in heads},
        layout=facts["layout"],
        all_classes_known=True,
        splits_decided=True,
        grouped_by="column 'group'" if group else None,
        notes=[*facts["notes"]],
    )


def _manifest(
    source: Path,
    stated: _Stated,
    config: ManifestConfig,
    is_checked: bool,
    makes_splits: bool,
    recorded: RecordedSplit | None,
    on_file: OnFile,
) -> tuple[Manifest, bool]:
    """The steps of ``read.manifest_of``, in its order."""
    table, heads, notes = stated.table, tuple(stated.classes), stated.notes
    if set(config.class_names) - set(heads):
        raise NotPlain
    _check_cells(table)
    names = {
        head: config.class_names.get(head) or known or names_that_occur(codes)
        for (head, known), codes in zip(stated.classes.items(), table.labels, strict=True)
    }
    for (head, known), codes in zip(names.items(), table.labels, strict=True):
        notes += numbered_notes(head, known, codes)
    found = list[LabelFinding]()
    for place, (head, known) in enumerate(names.items()):
        counts = np.bincount(table.label_codes[:, place]).tolist()
        found += findings_of(head, known, dict(zip(table.labels[place], counts, strict=True)))
    if not stated.splits_decided:
        notes += [finding.note for finding in found]
    rows = Rows(_columns(table, names, keeps_groups=config.split_by != "files"))
    is_decided = stated.splits_decided or not makes_splits
    split = PlainSplit(source, stated.root, config, recorded, on_file, notes, stated.grouped_by)
    rows, origin = split.applied_to(rows, table, is_decided=is_decided, states_all=makes_splits)
    if is_checked:
        notes += _checked_files(stated.root, rows)
    manifest = Manifest(
        root=stated.root,
        samples=rows,
        class_names=names,
        layout=stated.layout,
        notes=tuple(dict.fromkeys(notes)),
        label_findings=tuple(found),
        folder=source.parent,
        split_origin=origin,
    )
    return manifest, stated.all_classes_known


def _check_cells(table: ParsedTable) -> None:
    """Raise NotPlain where a row has no label, or ends before it starts."""
    empty = [codes.get("", -1) for codes in table.labels]
    if (table.label_codes == np.array(empty, dtype=np.int32)).all(axis=1).any():
        raise NotPlain
    if "end_seconds" in table.times:
        start, end = (table.times.get(name, np.zeros(1)) for name in ("start_seconds", "end_seconds"))
        if (table.is_given["end_seconds"] & (end <= start)).any():
            raise NotPlain


def _columns(table: ParsedTable, names: dict[str, tuple[str, ...]], *, keeps_groups: bool) -> Columns:
    """The columns with class indices; rows that state no split are of train."""
    labels = np.empty_like(table.label_codes)
    for place, (codes, known) in enumerate(zip(table.labels, names.values(), strict=True)):
        index = {name: number for number, name in enumerate(known)}
        table_of = np.array([_class_index(name, index) for name in codes], dtype=np.int32)
        labels[:, place] = table_of[table.label_codes[:, place]]
    splits = np.zeros(len(table), dtype=np.int8)
    if table.split_codes is not None:
        places = [SPLITS.index(SPLIT_NAMES[name.lower()]) for name in table.splits]
        splits = np.array(places, dtype=np.int8)[table.split_codes]
    given = {name: mask for name, mask in table.is_given.items() if mask.any()}
    texts = dict[str, Texts]()
    if table.entries is not None and (mask := table.entries.lengths > 0).any():
        texts["entry"], given["entry"] = table.entries, mask
    if keeps_groups and table.groups is not None and (mask := table.groups.lengths > 0).any():
        texts["group"], given["group"] = table.groups, mask
    return Columns(
        paths=table.paths,
        labels=labels,
        splits=splits,
        split_names=SPLITS,
        numbers={name: table.times[name] for name in given if name in table.times},
        texts=texts,
        is_given=given,
    )


def _class_index(name: str, index: dict[str, int]) -> int:
    if name in index or not name:
        return index.get(name, -1)
    if name.isdecimal() and int(name) < len(index):
        return int(name)
    raise NotPlain


def _checked_files(root: Path, rows: Rows) -> Iterator[str]:
    """A note about files that are not looked at, or about short frame folders. Raises NotPlain if a file is missing."""
    if len(rows) > MAX_LOOKED_AT:
        yield (
            f"files are not looked at before they are read, because there are more than {MAX_LOOKED_AT:,} rows: what "
            "is missing counts as a video that cannot be read; `tubelet data scan` looks at all"
        )
        return
    for path in dict.fromkeys(rows.paths()):
        file = os.path.join(root, path)
        if not os.path.isfile(file) and not is_frame_folder(Path(file)):
            raise NotPlain
    if "end_seconds" in rows.columns.numbers:
        yield from missing_frames_notes(root, rows)
