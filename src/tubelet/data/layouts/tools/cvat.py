"""CVAT's own XML, version 1.1, of tasks of one video each: "CVAT for images" with tags, "CVAT for video" with tracks.

A stretch of frames with the same tag is a row, and so is a stretch in which a track is seen; boxes within frames are
not read. The video is the task's ``source``, found by its name below the root. Frames count from the task's
``start_frame`` in steps of its ``frame_filter``. A task's ``subset`` is its split, if it is called as one.
Source: docs.cvat.ai, "XML annotation format".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from tubelet.data.layouts.config import AnnotationFile, ManifestConfig, annotation_files
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.rows import SPLIT_NAMES, LayoutRows, Row, whole_number
from tubelet.errors import DataError, reason
from tubelet.files import read_xml


def read_cvat(root: Path, config: ManifestConfig) -> LayoutRows:
    """One row per stretch of a tag or track; classes are those that the tasks list, sorted.

    Raises:
        DataError: no XML file, or one that is no export of a task of one video.
    """
    index, rows, classes = FileIndex(root), list[Row](), set[str]()
    for file in annotation_files(root, config, "*.xml", "*/annotations.xml"):
        document = _document(file.path)
        try:
            rows += _rows(document, file, index)
        except ValueError as error:
            raise DataError(f"{file.path}: {error}") from None
        classes |= {name.text for name in document.iterfind("./meta//labels/label/name") if name.text}
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": tuple(sorted(classes | {row.labels[0] for row in rows}))},
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=index.notes,
    )


def _document(path: Path) -> ElementTree.Element:
    try:
        document = read_xml(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as XML ({reason(error)}); expected an export of CVAT") from None
    if document.tag != "annotations" or document.find("meta") is None:
        raise DataError(f"{path}: begins with <{document.tag}>; expected <annotations> with <meta>, an export of CVAT")
    if document.find("meta/project") is not None:
        raise DataError(f"{path}: is the export of a project; export its tasks one by one")
    return document


def _rows(document: ElementTree.Element, file: AnnotationFile, index: FileIndex) -> Iterator[Row]:
    source = (document.findtext("meta//source") or document.findtext("meta/task/name") or "").strip()
    if not source:
        raise ValueError("names no video (meta/task/source); export the task again")
    path = index.find(Path(source).stem)
    start = whole_number((document.findtext("meta//start_frame") or "0").strip(), "start_frame")
    step = re.search(r"step\s*=\s*(\d+)", document.findtext("meta//frame_filter") or "")
    every = max(1, int(step[1])) if step else 1
    split = SPLIT_NAMES.get((document.findtext("meta//subset") or "").strip().lower(), file.split)
    for label, first, last in _stretches(document):
        if path is not None:
            yield Row(
                path=path,
                labels=(label,),
                split=split,
                start_frame=start + first * every,
                end_frame=start + (last + 1) * every,
            )


def _stretches(document: ElementTree.Element) -> Iterator[tuple[str, int, int]]:
    """(Label, first and last frame of the task) of every tag and track."""
    tagged = defaultdict[str, set[int]](set)
    for image in document.iterfind("image"):
        for tag in image.iterfind("tag"):
            tagged[_label(tag)].add(whole_number(image.get("id") or "", "the id of an image"))
    for label, frames in tagged.items():
        yield from ((label, first, last) for first, last in _runs(frames))
    for track in document.iterfind("track"):
        seen = {whole_number(shape.get("frame") or "", "a frame") for shape in track if shape.get("outside") == "0"}
        yield from ((_label(track), first, last) for first, last in _runs(seen))


def _label(element: ElementTree.Element) -> str:
    label = element.get("label")
    if not label:
        raise ValueError(f"a <{element.tag}> has no label")
    return label


def _runs(frames: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of neighboring numbers."""
    first = last = None
    for frame in sorted(frames):
        if last is not None and first is not None and frame > last + 1:
            yield first, last
            first = frame
        first, last = frame if first is None else first, frame
    if first is not None and last is not None:
        yield first, last
