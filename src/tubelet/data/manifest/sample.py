"""One row of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubelet.errors import DataError

Segment = tuple[float | None, float | None, int | None, int | None]  # start and end in seconds, or in frames
_ADDED_FIELDS = frozenset(("start_frame", "end_frame"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One video, one segment of a video, or one volume."""

    path: str  # relative to the manifest's root, or absolute
    labels: tuple[int, ...]  # class index of each head, -1 if unknown; or all classes (Manifest.multi_label)
    split: str  # train, val or test
    start_seconds: float | None = None  # start of the segment; None means the start of the video
    end_seconds: float | None = None  # end of the segment; None means the end of the video
    fps: float | None = None  # frames per second of a frame folder; None means not known, or the file's own
    entry: str | None = None  # address inside an .npz file ("train_images[17]") or a tar shard ("a.mp4@512+9000")
    start_frame: int | None = None  # of a segment in frames of the source, counted from 0
    end_frame: int | None = None  # the first frame after the segment; None means the end of the source
    group: str | None = None  # what it belongs to beside its file (a match, a patient, near-copies); None means nothing

    def __repr__(self) -> str:
        """Without fields that versions before did not have while they are not used: fingerprints hash it.

        The group is left out in any case: it decides the split, which is there.
        """
        used = {name: value for name, value in vars(self).items() if name not in _ADDED_FIELDS or value is not None}
        shown = {name: value for name, value in used.items() if name != "group"}
        return f"Sample({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def segment(self) -> Segment:
        """The part of its source."""
        return self.start_seconds, self.end_seconds, self.start_frame, self.end_frame

    @property
    def is_segment(self) -> bool:
        return any(bound is not None for bound in self.segment)

    def bounds(self, timestamps: Sequence[float] | NDArray[np.float64]) -> tuple[float | None, float | None]:
        """Start and end of the segment in seconds.

        Args:
            timestamps: when each frame of the source appears.

        Raises:
            DataError: the segment begins behind the last frame.
        """
        if self.start_frame is None and self.end_frame is None:
            return self.start_seconds, self.end_seconds
        first, stop, count = self.start_frame or 0, self.end_frame, len(timestamps)
        if first >= count:
            raise DataError(f"the segment starts at frame {first}, but there are {count} frames, from 0 on")
        return float(timestamps[first]), None if stop is None or stop >= count else float(timestamps[stop])
