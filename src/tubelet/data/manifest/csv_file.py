"""The manifest as a file: a CSV that reads back to an equal manifest, whatever layout it came from.

    # tubelet manifest 1
    # layout: kinetics
    # root: ../videos              relative to this file; an absolute path where they share no folder
    # fingerprint: 0f3a9c...       of the rows, the classes and the files, when it was written
    # notes: [...]                 what the reader of the layout decided
    # classes: {label: [...]}      class names of each head in logit order, as YAML
    # label_separator: "|"         only where a video may have several labels: what stands between them in a cell
    path,split,start_seconds,end_seconds,fps,entry,label
    abseiling/0347ZoDXyP0_000095_000105.mp4,train,,,,,abseiling

Behind ``entry`` stand ``start_frame`` and ``end_frame`` where segments are given in frames, and ``group`` where rows
have one.

The lines that start with # are YAML (read by the safe loader); other programs skip them as comments. Labels are
names. Splits are final: reading the file splits nothing off.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from tubelet.config import dump_yaml
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import SPLITS, LayoutRows, Row, check_segment, parse_each, seconds_of, whole_number
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import ConfigError, DataError, nearest, reason
from tubelet.files import write_atomically

_FIRST_LINE = "# tubelet manifest 1"
COLUMNS = ("path", "split", "start_seconds", "end_seconds", "fps", "entry")
_FRAMES = ("start_frame", "end_frame")
_ADDED_COLUMNS = (*_FRAMES, "group")  # behind those, each only where a row uses it


def is_manifest_file(path: Path) -> bool:
    """Whether a file begins as a written manifest does, of any version."""
    try:
        with path.open("rb") as file:
            return file.read(18) == b"# tubelet manifest"
    except OSError:
        return False


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest. ``read_manifest(path)`` reads an equal one.

    Raises:
        DataError: a head has the name of a column, or a row has no label.
    """
    heads = tuple(manifest.class_names)
    used = [name for name in _ADDED_COLUMNS if any(getattr(row, name) is not None for row in manifest.samples)]
    columns = (*COLUMNS, *used)
    if clash := set(heads) & set(columns):
        raise DataError(f"{path}: a head is called '{min(clash)}', as a column of the manifest is; rename it")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*columns, *heads))
    for sample in manifest.samples:
        if not manifest.multi_label and (len(sample.labels) != len(heads) or max(sample.labels, default=-1) < 0):
            raise DataError(f"{path}: {sample.entry or sample.path} has no label; a manifest file holds labeled rows")
        writer.writerow((*(_text(getattr(sample, column)) for column in columns), *_label_cells(manifest, sample)))
    facts = {
        "layout": manifest.layout,
        "root": _root_beside(manifest.root, path),
        "fingerprint": manifest.fingerprint,
        "notes": list(manifest.notes),
        "classes": {head: list(names) for head, names in manifest.class_names.items()},
        **({"label_separator": _separator(manifest)} if manifest.multi_label else {}),
    }
    header = "".join(f"# {line}\n" for line in dump_yaml(facts).rstrip("\n").split("\n"))
    write_atomically(path, f"{_FIRST_LINE}\n{header}{text.getvalue()}")


def _separator(manifest: Manifest) -> str:
    """A separator that occurs in no class name."""
    names = "".join(name for of_head in manifest.class_names.values() for name in of_head)
    return next(sign for sign in ("|", ";", "#", " && ", " &&& ") if sign not in names)


def _label_cells(manifest: Manifest, sample: Sample) -> list[str]:
    """The label of each head, empty if unknown; or all labels in one cell."""
    heads = list(manifest.class_names.values())
    if manifest.multi_label:
        return [_separator(manifest).join(heads[0][label] for label in sample.labels)]
    return [names[label] if label >= 0 else "" for names, label in zip(heads, sample.labels, strict=True)]


def read_manifest_file(path: Path, config: ManifestConfig) -> LayoutRows:
    """Read the rows and classes of a written manifest.

    ``config.root`` replaces the root. ``config.label_columns``, unless it is the default, chooses heads.

    Raises:
        DataError: the file is damaged or malformed; the message names lines.
        ConfigError: a label column that the manifest does not have.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a manifest ({reason(error)}); expected UTF-8 text") from None
    lines = text.split("\n")
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    facts = _facts(path, lines[:count])
    classes = {head: tuple(names) for head, names in facts["classes"].items()}
    heads = chosen_heads(path, tuple(classes), config)
    reader = csv.reader(io.StringIO("\n".join(lines[count:])), strict=True)
    try:
        header = next(reader, [])
        expected = (*COLUMNS, *(name for name in _ADDED_COLUMNS if name in header and name not in classes), *classes)
        if tuple(header) != expected:
            raise DataError(f"{path}: has columns {', '.join(header)}; expected {', '.join(expected)}")
        table = [(count + reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(f"{path}: line {count + reader.line_num}: cannot be read as CSV ({error})") from None
    known = {head: frozenset(classes[head]) for head in heads}
    separator = facts.get("label_separator")

    def parse(cells: list[str]) -> Row:
        if len(cells) != len(header):
            raise ValueError(f"{len(cells)} cells, expected {len(header)}")
        return _row(dict(zip(header, cells, strict=True)), known, separator)

    root = config.root or Path(os.path.normpath(path.parent / facts["root"]))
    notes = list(facts["notes"])
    return LayoutRows(
        root=root,
        rows=parse_each(path, table, parse, notes if config.skip_malformed else None),
        classes={head: classes[head] for head in heads},
        label_separator=separator,
        all_classes_known=True,
        splits_decided=True,
        layout=facts["layout"],
        notes=notes,
        grouped_by="column 'group'" if "group" in header and "group" not in classes else None,
    )


def written_fingerprint(path: Path) -> str:
    """The fingerprint of the data when a manifest file was written."""
    with path.open(encoding="utf-8") as file:
        return str(facts_above(path, file)[0]["fingerprint"])


def facts_above(path: Path, stream: TextIO) -> tuple[dict[str, Any], str]:
    """What stands in the # lines at the beginning of a file, and the line behind them. Raises DataError."""
    lines, line = list[str](), ""
    for line in stream:
        if not line.startswith("#"):
            break
        lines.append(line.rstrip("\n"))
    return _facts(path, lines), line


def _facts(path: Path, lines: Sequence[str]) -> dict[str, Any]:
    if not lines or lines[0].rstrip() != _FIRST_LINE:
        raise DataError(f"{path}: begins with '{lines[0] if lines else ''}', expected '{_FIRST_LINE}'; write it again")
    try:
        facts = yaml.safe_load("\n".join(line[2:] for line in lines[1:]))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: its # lines are no YAML ({' '.join(str(error).split())}); write it again") from None
    kinds = {"layout": str, "root": str, "fingerprint": str, "notes": list, "classes": dict}
    if not isinstance(facts, dict) or any(not isinstance(facts.get(key), kind) for key, kind in kinds.items()):
        raise DataError(f"{path}: its # lines lack one of {', '.join(kinds)}; write it again")
    for head, names in facts["classes"].items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: the classes of '{head}' are not a list of names; write it again")
    return facts


def chosen_heads(path: Path, heads: tuple[str, ...], config: ManifestConfig) -> tuple[str, ...]:
    """The heads that ``config.label_columns`` asks for. Raises ConfigError."""
    if config.label_columns == ManifestConfig().label_columns and "label" not in heads:
        return heads
    for column in config.label_columns:
        if column not in heads:
            raise ConfigError(f"{path}: label_columns names '{column}', which is no head of it{nearest(column, heads)}")
    return config.label_columns


def _row(record: dict[str, str], known: dict[str, frozenset[str]], separator: str | None) -> Row:
    if not record["path"] or record["split"] not in SPLITS:
        raise ValueError(
            f"expected a path and a split (train, val or test), got '{record['path']}', '{record['split']}'"
        )
    start, end, fps = (
        seconds_of(record[column]) if record[column] else None for column in ("start_seconds", "end_seconds", "fps")
    )
    check_segment(start, end)
    frames = [whole_number(text, name) if (text := record.get(name)) else None for name in _FRAMES]
    for head, names in known.items():
        for name in [record[head]] if separator is None else record[head].split(separator):
            may_be_empty = separator is not None or len(known) > 1
            if name not in names and (name or not may_be_empty):
                raise ValueError(f"class '{name}' is not among the {len(names)} classes of '{head}' above")
    return Row(
        path=record["path"],
        labels=tuple(record[head] for head in known),
        split=record["split"],
        start_seconds=start,
        end_seconds=end,
        fps=fps,
        entry=record["entry"] or None,
        start_frame=frames[0],
        end_frame=frames[1],
        group=None if "group" in known else record.get("group") or None,
    )


def _root_beside(root: Path, file: Path) -> str:
    """The root as seen from the folder of the file; absolute where the only common folder is the top one."""
    there, here = root.absolute(), file.absolute().parent
    common = os.path.commonpath([there, here])
    return str(there) if common == os.path.dirname(common) and there != here else os.path.relpath(there, here)


def _text(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
