"""Something-Something (20BN, now Qualcomm), version 1 and 2.

    v2  something-something-v2-{train,validation,test}.json: list of {id, label, template, placeholders}
        something-something-v2-labels.json: {template without brackets: class index}
        something-something-v2-test-answers.csv, if it exists: id;template
        videos <id>.webm, or frame folders <id>/
    v1  something-something-v1-{train,validation,test}.csv: id;template    -labels.csv: one template per line
        frame folders <id>/00001.jpg, at 12 frames per second

The class of a video is its template without brackets ("Putting [something] on [something]"). Test lists come
without labels; their rows are left out unless the answers exist.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.json_lines import json_items
from tubelet.data.layouts.rows import LayoutRows, Row, parse_each, table_lines, text_lines, whole_number
from tubelet.errors import DataError

V1_FPS = 12.0  # the pictures of version 1 were taken from the videos at this rate


def read_something_v2(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of the train, validation and answered test lists; classes in the order of the official indices.

    Raises:
        DataError: a list is missing or malformed, or a template is not among the labels.
    """
    files = annotation_files(root, config, "*labels*.json", "*train*.json", "*validation*.json", "*test*")
    labels_file = _labels_file(root, files)
    indices = {}
    for line, (name, value) in json_items(labels_file):
        try:
            indices[_plain(name)] = whole_number(str(value), "the index")
        except ValueError as error:
            raise DataError(f"{labels_file}: line {line}: {error}") from None
    if sorted(indices.values()) != list(range(len(indices))):
        raise DataError(f"{labels_file}: class indices repeat or have gaps; expected 0 to {len(indices) - 1}")
    names = tuple(sorted(indices, key=lambda name: indices[name]))
    answers = _answers(files)
    lists = [file for file in files if file.path.suffix == ".json" and file.path != labels_file]
    return _read(root, config, names, lists, partial(_v2_label, answers=answers), config.frame_fps)


def read_something_v1(root: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of the train and validation lists; classes in the order of the labels file.

    Raises:
        DataError: a list is missing or malformed, or a template is not among the labels.
    """
    files = annotation_files(root, config, "*labels*.csv", "*train*.csv", "*validation*.csv", "*test*.csv")
    labels_file = _labels_file(root, files)
    names = tuple(_plain(text) for _, text in text_lines(labels_file))
    lists = [file for file in files if file.path != labels_file]
    return _read(root, config, names, lists, _v1_label, config.frame_fps or V1_FPS)


def _read(
    root: Path,
    config: ManifestConfig,
    names: tuple[str, ...],
    files: list[AnnotationFile],
    label_of: Any,
    fps: float | None,
) -> LayoutRows:
    index, notes, rows, known = FileIndex(root), list[str](), list[Row](), frozenset(names)
    unlabeled: list[str] = []

    def parse(item: Any, split: str | None) -> Row | None:
        video, label = label_of(item)
        if label is None:
            unlabeled.append(video)
            return None
        if label not in known:
            raise ValueError(f"template '{label}' of video {video} is not among the {len(names)} labels")
        path = index.find(video)
        if path is None:
            return None
        return Row(path=path, labels=(label,), split=split, fps=fps if index.is_frames(path) else None)

    for file in files:
        lines: Any = json_items(file.path) if file.path.suffix == ".json" else table_lines(file.path, ";")
        rows += parse_each(file.path, lines, partial(parse, split=file.split), notes if config.skip_malformed else None)
    if unlabeled:
        notes.append(f"{len(unlabeled)} videos without a label left out (the test list is published without)")
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": names},
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=notes + index.notes,
    )


def _v2_label(item: tuple[str, Any], answers: dict[str, str]) -> tuple[str, str | None]:
    entry = item[1]
    if not isinstance(entry, dict) or not str(entry.get("id", "")):
        raise ValueError(f"entry {item[0]} has no id")
    video, template = str(entry["id"]), entry.get("template")
    if template is None:
        return video, answers.get(video)
    if not isinstance(template, str) or not template:
        raise ValueError(f"video {video} has no template")
    return video, _plain(template)


def _v1_label(cells: list[str]) -> tuple[str, str | None]:
    if not cells[0] or len(cells) > 2 or cells[-1] == "":
        raise ValueError(f"'{';'.join(cells)}' is not id;template")
    return cells[0], _plain(cells[1]) if len(cells) == 2 else None


def _plain(template: str) -> str:
    return template.replace("[", "").replace("]", "").strip()


def _labels_file(root: Path, files: list[AnnotationFile]) -> Path:
    found = [file.path for file in files if "labels" in file.path.name.lower()]
    if len(found) != 1:
        raise DataError(f"{root}: {len(found)} files with 'labels' in their name; expected one beside the lists")
    return found[0]


def _answers(files: list[AnnotationFile]) -> dict[str, str]:
    found = [file.path for file in files if "answers" in file.path.name.lower()]
    return {cells[0]: _plain(cells[1]) for path in found for _, cells in table_lines(path, ";") if len(cells) == 2}
