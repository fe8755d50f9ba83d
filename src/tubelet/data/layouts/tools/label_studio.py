"""Label Studio's JSON export of video tasks: choices for whole videos, and labels on the timeline.

    [{"data": {"video": "/data/upload/1/0a1b2c3d-clip.mp4"},
      "annotations": [{"result": [
          {"type": "choices", "value": {"choices": ["walk"]}},
          {"type": "timelinelabels", "value": {"timelinelabels": ["run"], "ranges": [{"start": 1, "end": 25}]}}]}]}]

A video is found by its name below the root, with or without the eight digits that an upload puts before it. Frames of a
timeline count from 1, and the last one belongs to the range. Cancelled annotations are left out; where several people
annotated a video, the first one counts, with a note. Several choices for one video are several labels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from tubelet.data.layouts.config import ManifestConfig, annotation_files
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.json_lines import json_items
from tubelet.data.layouts.rows import LayoutRows, Row, parse_each

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
SEPARATOR = "|"  # of several labels, in the manifest file


def read_label_studio(root: Path, config: ManifestConfig) -> LayoutRows:
    """One row per video with choices, and one per range of the timeline; classes are those that occur, sorted.

    Raises:
        DataError: no JSON file, or malformed tasks, named by the line they start in.
    """
    parser, notes = _Parser(FileIndex(root)), list[str]()
    for file in annotation_files(root, config, "*.json"):
        parser.split = file.split
        parse_each(file.path, json_items(file.path), parser.task, notes if config.skip_malformed else None)
    if parser.unlabeled:
        notes.append(f"{parser.unlabeled} tasks without a label left out")
    if parser.several:
        notes.append(f"{parser.several} videos were annotated more than once; the first annotation of each counts")
    return LayoutRows(
        root=root,
        rows=parser.rows,
        classes={"label": tuple(sorted({label for row in parser.rows for label in row.labels}))},
        label_separator=SEPARATOR if any(len(row.labels) > 1 for row in parser.rows) else None,
        all_classes_known=True,
        missing=tuple(parser.index.missing),
        notes=notes + parser.index.notes,
    )


class _Parser:
    """Collects the rows of all tasks: one task may have several."""

    def __init__(self, index: FileIndex) -> None:
        self.index = index
        self.split: str | None = None  # of the file that is read
        self.rows, self.unlabeled, self.several = list[Row](), 0, 0

    def task(self, item: tuple[str, Any]) -> None:
        number, task = item
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict) or "annotations" not in task:
            raise ValueError(f"task {number} has no data and annotations; export as JSON, not as JSON-MIN")
        done = [found for found in task["annotations"] or () if not found.get("was_cancelled")]
        self.several += len(done) > 1
        found = [part for result in done[:1] for part in _labels(number, result.get("result") or ())]
        if not found:
            self.unlabeled += 1
            return
        stem = Path(unquote(urlparse(_address(number, task["data"])).path)).stem
        path = self.index.find(stem, _UPLOAD.sub("", stem, count=1))
        if path is not None:
            self.rows += [
                Row(path=path, labels=labels, split=self.split, start_frame=start, end_frame=end)
                for labels, start, end in found
            ]


def _address(number: str, data: dict[str, Any]) -> str:
    """Where the video of a task lies: ``data.video``, or the only text in ``data``."""
    texts = [value for value in data.values() if isinstance(value, str)]
    address = data.get("video") or (texts[0] if len(texts) == 1 else None)
    if not isinstance(address, str) or not address:
        raise ValueError(f"task {number} names no video (data.video)")
    return address


def _labels(number: str, results: Any) -> list[tuple[tuple[str, ...], int | None, int | None]]:
    """(Labels, first frame from 0, frame behind the last) of one annotation."""
    found: list[tuple[tuple[str, ...], int | None, int | None]] = []
    for result in results:
        value = result.get("value") or {}
        if result.get("type") == "choices":
            found.append((tuple(map(str, value["choices"])), None, None))
        elif result.get("type") == "timelinelabels":
            for part in value.get("ranges") or ():
                start, end = part.get("start"), part.get("end")
                if not isinstance(start, int) or not isinstance(end, int) or not 1 <= start <= end:
                    raise ValueError(f"task {number}: a range from {start} to {end}; expected frames from 1 on")
                found.append((tuple(map(str, value["timelinelabels"])), start - 1, end))
    return [part for part in found if part[0]]
