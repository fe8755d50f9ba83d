"""Validation and test on whole videos where training is on annotated segments.

Source: OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/datasets`` (ActivityNet and HACS: training draws frames from
the annotated segment, validation and test from the whole video).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.segments import extent

_Video = tuple[str, str | None, str | None]


def with_whole_videos(rows: Sequence[Row], notes: list[str], *, multi_label: bool) -> list[Row]:
    """One row per video outside train, from its beginning to its end; the rows of train stay as they are.

    Args:
        notes: gets a line with the number of segments, of videos, and of videos that had several labels.
        multi_label: whether a video gets the labels of all its segments, or only the label with the most seconds.
    """
    segments: dict[_Video, list[Row]] = defaultdict(list)
    for row in rows:
        if not _trains(row):
            segments[_video(row)].append(row)
    whole = {video: _whole(parts, multi_label) for video, parts in segments.items()}
    count = sum(extent(row)[2] != "whole" for parts in segments.values() for row in parts)
    if count:
        several = sum(len({row.labels for row in parts}) > 1 for parts in segments.values())
        which = "all of them" if multi_label else "the one with the most seconds"
        also = f"; {several} videos have segments of several labels and keep {which}" if several else ""
        notes.append(f"test_whole_video: {count} segments outside train are {len(whole)} whole videos{also}")
    kept = []
    for row in rows:
        if _trains(row):
            kept.append(row)
        elif (video := _video(row)) in whole:
            kept.append(whole.pop(video))
    return kept


def _video(row: Row) -> _Video:
    return row.path, row.entry, row.split


def _trains(row: Row) -> bool:
    return row.split in (None, "train")  # rows without a split are trained on


def _whole(parts: Sequence[Row], multi_label: bool) -> Row:
    seconds: dict[tuple[str, ...], float] = defaultdict(float)
    for row in parts:
        start, end, _ = extent(row)
        seconds[row.labels] += end - start
    if multi_label:
        labels = tuple(dict.fromkeys(name for row in parts for name in row.labels))
    else:
        labels = max(seconds, key=lambda names: seconds[names])
    return replace(parts[0], labels=labels, start_seconds=None, end_seconds=None, start_frame=None, end_frame=None)
