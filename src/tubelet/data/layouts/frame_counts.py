"""Frame folders with fewer pictures than their rows promise, as an extraction that broke off leaves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.rows import some
from tubelet.data.sources.frame_folder import UNTIMED_FPS, frame_files
from tubelet.errors import VideoError


class PartOfSource(Protocol):
    """The fields of a row that say what it shows of its source."""

    @property
    def path(self) -> str: ...
    @property
    def entry(self) -> str | None: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def start_seconds(self) -> float | None: ...
    @property
    def end_seconds(self) -> float | None: ...
    @property
    def start_frame(self) -> int | None: ...
    @property
    def end_frame(self) -> int | None: ...


def missing_frames_notes(root: Path, rows: Sequence[PartOfSource]) -> Iterator[str]:
    """A note if rows tell of more frames than their folders have.

    Args:
        root: the folder that paths are relative to.
        rows: those with an end are looked at if they are frame folders.
    """
    short, promised_by_all, found_in_all = list[str](), 0, 0
    folder, numbers = Path(), np.empty(0, dtype=np.int64)  # of the latest row: segments of a video follow each other
    for row in rows:
        if row.end_seconds is row.end_frame is None or row.entry or not (root / row.path).is_dir():
            continue
        if folder != root / row.path:
            folder, numbers = root / row.path, _frame_numbers(root / row.path)
        if row.end_frame is not None:
            start, end, places = row.start_frame or 0, row.end_frame, np.arange(len(numbers))
        else:
            bounds = (row.start_seconds or 0.0, row.end_seconds or 0.0)
            start, end = (round(at * (row.fps or UNTIMED_FPS)) for at in bounds)
            places = numbers
        found = int(np.sum((places >= start) & (places < end)))
        if numbers.size and found < end - start:
            short.append(f"{row.path} ({found} of {end - start})")
            promised_by_all, found_in_all = promised_by_all + end - start, found_in_all + found
    if short:
        yield (
            f"{len(short)} of {len(rows)} rows promise more frames than their folders have, {found_in_all} of "
            f"{promised_by_all} frames are there: {some(short)}; extract the frames again, or leave the rows out"
        )


def _frame_numbers(folder: Path) -> NDArray[np.int64]:
    """The numbers of the pictures, from 0 on; none for a folder that cannot be read, which its reader reports."""
    try:
        numbers = np.array([number for number, _ in frame_files(folder)], dtype=np.int64)
    except VideoError:
        return np.empty(0, dtype=np.int64)
    return numbers - numbers[0]
