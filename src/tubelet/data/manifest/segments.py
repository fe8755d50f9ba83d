"""Segments of one source: how messages name them, and how much of one another shows too."""

from __future__ import annotations

import math
from typing import Literal

from tubelet.data.manifest.quarantine import ManifestRow

Unit = Literal["whole", "seconds", "frames"]
_SAME = 0.5  # share of the shorter of two segments from which on both show the same


def extent(row: ManifestRow) -> tuple[float, float, Unit]:
    """Start, end and unit of the part of its source that a row shows; an open end is infinite."""
    frames = row.start_frame is not None or row.end_frame is not None
    start, end = (row.start_frame, row.end_frame) if frames else (row.start_seconds, row.end_seconds)
    unit: Unit = "frames" if frames else "whole" if start is None and end is None else "seconds"
    return float(start or 0), math.inf if end is None else float(end), unit


def shared_part(one: ManifestRow, other: ManifestRow) -> float:
    """Share of the shorter of two segments of one source that the other shows too.

    It is 1 where a segment in seconds meets one in frames, because nothing shows that they differ.
    """
    (start, end, unit), (other_start, other_end, other_unit) = extent(one), extent(other)
    if "whole" in (unit, other_unit) or unit != other_unit:
        return 1.0
    common, shorter = min(end, other_end) - max(start, other_start), min(end - start, other_end - other_start)
    if common <= 0:
        return 0.0
    return 1.0 if math.isinf(common) else common / shorter


def show_the_same(one: ManifestRow, other: ManifestRow) -> bool:
    """Whether two rows of one source show the same: half of the shorter segment at least."""
    return shared_part(one, other) >= _SAME


def segment_text(row: ManifestRow) -> str:
    """The segment of a row as messages name it behind the file; empty where the row shows all of it."""
    start, end, unit = extent(row)
    if unit == "whole":
        return ""
    bounds = f"{start:g}-{'' if math.isinf(end) else f'{end:g}'}"
    return f" [frames {bounds}]" if unit == "frames" else f" [{bounds} s]"


def segment_cells(row: ManifestRow) -> tuple[str, str]:
    """Start and end as tables have them below ``start_seconds`` and ``end_seconds``; of frames ``frame 12``."""
    if extent(row)[2] == "frames":
        first, stop = ("" if n is None else f"frame {n}" for n in (row.start_frame, row.end_frame))
        return first, stop
    start, end = ("" if x is None else str(x) for x in (row.start_seconds, row.end_seconds))
    return start, end
