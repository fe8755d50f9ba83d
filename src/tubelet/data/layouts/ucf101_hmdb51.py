"""UCF101 and HMDB51: three official splits each, in text files.

    UCF101   classInd.txt (``1 ApplyEyeMakeup``), trainlist01.txt (``ApplyEyeMakeup/v_x_g08_c01.avi 1``),
             testlist01.txt (the same without the class index)
    HMDB51   <class>_test_split1.txt: ``name.avi 1``, where 1 is training, 2 is test and 0 is neither

Clips of one source video are one group: ``v_x_g08_c01`` to ``_c07`` of UCF101, ``x_0`` to ``x_9`` of HMDB51.
Videos are found by their name in whatever folder below the root, so that converted copies (.mp4) fit too.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig, annotation_files, class_list
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.rows import LayoutRows, Row, parse_each, text_lines
from tubelet.errors import DataError

_HMDB_SPLITS = {"1": "train", "2": "test"}


def read_ucf101(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of one official split, in the order of its lists; classes in the order of classInd.txt.

    Raises:
        DataError: a list is missing or malformed.
    """
    number = f"{config.official_split:02d}"
    files = annotation_files(root, config, "classInd.txt", f"trainlist{number}.txt", f"testlist{number}.txt")
    class_file = next((file.path for file in files if file.path.name == "classInd.txt"), None)
    if class_file is None:
        raise DataError(f"{root}: no classInd.txt beside the lists; it holds the order of the classes")
    names, index, notes, rows = class_list(class_file), FileIndex(root), list[str](), list[Row]()
    for file in files:
        if file.path != class_file:
            parse = partial(_ucf_row, split=file.split, names=names, index=index)
            rows += parse_each(file.path, text_lines(file.path), parse, notes if config.skip_malformed else None)
    return _reading(root, rows, names, index, notes)


def read_hmdb51(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of one official split, class by class; classes are those of the files, sorted.

    Raises:
        DataError: no split file, or a malformed one.
    """
    ending = f"_test_split{config.official_split}.txt"
    files = annotation_files(root, config, f"*{ending}")
    names = tuple(sorted(re.sub(r"_test_split\d\.txt$", "", file.path.name) for file in files))
    index, notes, rows = FileIndex(root), list[str](), list[Row]()
    unused: list[str] = []
    for file in files:
        label = re.sub(r"_test_split\d\.txt$", "", file.path.name)
        parse = partial(_hmdb_row, label=label, index=index, unused=unused)
        rows += parse_each(file.path, text_lines(file.path), parse, notes if config.skip_malformed else None)
    if unused:
        notes.append(f"{len(unused)} videos are in neither part of official split {config.official_split}")
    return _reading(root, rows, names, index, notes)


def _ucf_row(text: str, split: str | None, names: tuple[str, ...], index: FileIndex) -> Row | None:
    match = re.fullmatch(r"([^/]+)/(.+?)\.\w+(?:\s+(\d+))?", text)
    if match is None:
        raise ValueError(f"'{text}' is not Class/video.avi with or without a class index")
    label, stem, number = match.groups()
    if label not in names:
        raise ValueError(f"class '{label}' is not in classInd.txt")
    if number is not None and int(number) != names.index(label) + 1:
        raise ValueError(f"class '{label}' has index {names.index(label) + 1} in classInd.txt, here {number}")
    path = index.find(stem, parent=label)
    group = f"{label}/{stem.rpartition('_c')[0] or stem}"
    return None if path is None else Row(path=path, labels=(label,), split=split, group=group)


def _hmdb_row(text: str, label: str, index: FileIndex, unused: list[str]) -> Row | None:
    name, _, part = text.rpartition(" ")
    if not name or part not in ("0", "1", "2"):
        raise ValueError(f"'{text}' is not a video and 0, 1 or 2")
    if part == "0":
        unused.append(name)
        return None
    path = index.find(Path(name.strip()).stem, parent=label)
    group = f"{label}/{re.sub(r'_[0-9]+$', '', Path(name.strip()).stem)}"
    return None if path is None else Row(path=path, labels=(label,), split=_HMDB_SPLITS[part], group=group)


def _reading(root: Path, rows: list[Row], names: tuple[str, ...], index: FileIndex, notes: list[str]) -> LayoutRows:
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": names},
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=notes + index.notes,
        grouped_by="the source video in file names",
    )
