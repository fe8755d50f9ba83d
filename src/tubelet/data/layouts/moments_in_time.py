"""Moments in Time: trainingSet.csv and validationSet.csv beside moments_categories.txt (README of the release).

A row is ``filename,label,positive votes,negative votes`` without a header; the file is training/<filename> or
validation/<filename>, where the filename starts with the folder of its class. moments_categories.txt is
``class,index``, the order of the classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig, annotation_files, class_list
from tubelet.data.layouts.rows import LayoutRows, Row, parse_each, table_lines
from tubelet.errors import DataError

_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}


def read_moments(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of the training and the validation set, in the order of the lists.

    Raises:
        DataError: a file is missing or malformed, or a label is not among the categories.
    """
    files = annotation_files(root, config, "trainingSet.csv", "validationSet.csv", "moments_categories.txt")
    categories = [file.path for file in files if "categories" in file.path.name]
    if len(categories) != 1:
        raise DataError(f"{root}: no moments_categories.txt beside the lists; it holds the order of the classes")
    names, notes = class_list(categories[0]), list[str]()
    rows, missing = list[Row](), list[str]()
    for file in files:
        if file.path == categories[0]:
            continue
        parse = partial(_row, root=root, split=file.split, names=frozenset(names), missing=missing)
        lines = table_lines(file.path, ",")
        rows += parse_each(file.path, lines, parse, notes if config.skip_malformed else None)
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": names},
        all_classes_known=True,
        missing=tuple(missing),
        notes=notes,
    )


def _row(cells: list[str], root: Path, split: str | None, names: frozenset[str], missing: list[str]) -> Row | None:
    if len(cells) != 4 or not all(cells):
        raise ValueError(f"{len(cells)} cells, expected filename,label,positive votes,negative votes")
    name, label = cells[:2]
    if label not in names:
        raise ValueError(f"class '{label}' is not in moments_categories.txt")
    folder = _FOLDERS.get(split or "", "")
    for path in (f"{folder}/{name}", f"{folder}/{label}/{name}", name, f"{label}/{name}"):
        if (root / path.lstrip("/")).is_file():
            return Row(path=path.lstrip("/"), labels=(label,), split=split)
    missing.append(f"{folder}/{name}")
    return None
