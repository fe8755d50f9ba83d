"""ActivityNet 1.2 and 1.3 and HACS Segments: one JSON file, one row per annotated segment.

    {"database": {"<youtube id>": {"subset": "training", "duration": 92.2,
                                   "annotations": [{"label": "Dodgeball", "segment": [5.4, 11.6]}]}}}

subset is training, validation or testing (without annotations, left out). Videos are v_<id>.mp4 or <id>.mp4 in
whatever folder below the root; the downloader of HACS puts them into class folders. Videos that are gone are
counted, named and left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.data.layouts.config import ManifestConfig, annotation_files
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.json_lines import json_items
from tubelet.data.layouts.rows import LayoutRows, Row, check_segment, parse_each, seconds_of, split_of


def read_activitynet(root: Path, config: ManifestConfig) -> LayoutRows:
    """One row per segment; classes are those of the file, sorted.

    Raises:
        DataError: no JSON file, or malformed videos, named by the line they start in.
    """
    parser, notes, rows = _Parser(FileIndex(root)), list[str](), list[Row]()
    for file in annotation_files(root, config, "activity_net*.json", "HACS_segments*.json", "*.json"):
        lines = json_items(file.path, "database")
        parse_each(file.path, lines, parser.video, notes if config.skip_malformed else None)
    rows = parser.rows
    if parser.unlabeled:
        notes.append(f"{parser.unlabeled} videos without annotations left out (the test set is published without)")
    return LayoutRows(
        root=root,
        rows=rows,
        classes={"label": tuple(sorted(parser.classes))},
        all_classes_known=True,
        missing=tuple(parser.index.missing),
        notes=notes + parser.index.notes,
    )


class _Parser:
    """Collects the rows of all videos: one video has several."""

    def __init__(self, index: FileIndex) -> None:
        self.index, self.unlabeled = index, 0
        self.rows, self.classes = list[Row](), set[str]()

    def video(self, item: tuple[str, Any]) -> None:
        name, entry = item
        if not isinstance(entry, dict) or "subset" not in entry:
            raise ValueError(f"video {name} has no subset")
        split = split_of(str(entry["subset"]))
        annotations = entry.get("annotations") or []
        if not annotations:
            self.unlabeled += 1
            return
        segments = [_segment(name, annotation) for annotation in annotations]
        self.classes.update(label for label, _, _ in segments)
        path = self.index.find(f"v_{name}", name, parent=segments[0][0])
        if path is not None:
            self.rows += [
                Row(path=path, labels=(label,), split=split, start_seconds=start, end_seconds=end)
                for label, start, end in segments
            ]


def _segment(name: str, annotation: Any) -> tuple[str, float, float]:
    try:
        label, (start, end) = annotation["label"], annotation["segment"]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"video {name}: {str(annotation)[:80]} is not a label and a segment [start, end]") from None
    start, end = seconds_of(str(start)), seconds_of(str(end))
    try:
        check_segment(start, end)
    except ValueError as error:
        raise ValueError(f"video {name}: {error}") from None
    if not isinstance(label, str) or not label:
        raise ValueError(f"video {name}: a segment has no label")
    return label, start, end
