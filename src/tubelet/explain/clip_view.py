"""One view of a source with where its pixels and frames come from, so that a map can be laid over the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tubelet.data.clips.frame_sampling import ClipPlan, row_views
from tubelet.data.clips.resize_crop import Geometry, view_geometry
from tubelet.data.loading.read_views import open_clip_source, read_crops
from tubelet.data.sources.open_source import Reader
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """The middle view of a source: the middle temporal clip, the central crop."""

    pixels: UInt8[Tensor, "C T H W"]
    indices: tuple[int, ...]  # which frames of the source they are
    seconds: tuple[float, ...]  # when each frame appears in its source; of a volume the number of the slice
    until: tuple[float, ...]  # when the clip's next frame is shown; of the last one before the end, the source's next
    frame_numbers: Int[Tensor, " T"]  # for models that take them
    geometry: Geometry  # of the whole decoded frame
    crop: int  # which of its crops
    notes: tuple[str, ...]

    def to_source(self, relevance: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H0 W0"]:
        """A map of the clip on the pixels of the decoded frames: the value of the nearest pixel of the clip.

        NaN where the model was shown nothing.
        """
        rows, columns = self._in_clip(0), self._in_clip(1)
        inside = np.ix_(rows >= 0, columns >= 0)
        found = np.full((len(relevance), len(rows), len(columns)), np.nan, dtype=np.float32)
        found[:, inside[0], inside[1]] = relevance[:, rows[rows >= 0][:, None], columns[columns >= 0]]
        return found

    def box_in_source(self, top: int, left: int, bottom: int, right: int) -> tuple[float, float, float, float]:
        """(top, left, bottom, right) of a box of the clip, in pixels of the decoded frame; ends are excluded."""
        y, x = self._scale(0), self._scale(1)
        crop_top, crop_left = self.geometry.crops[self.crop]
        return (top + crop_top) * y, (left + crop_left) * x, (bottom + crop_top) * y, (right + crop_left) * x

    def _scale(self, axis: int) -> float:
        """Pixels of the decoded frame per pixel of the clip."""
        return self.geometry.box[2 + axis] / self.geometry.resized[axis]

    def _in_clip(self, axis: int) -> Int[np.ndarray, " H0"]:
        """For every row or column of the decoded frame that of the clip; -1 where it shows none."""
        centers = (np.arange(self.geometry.box[2 + axis]) + 0.5) / self._scale(axis)
        index = np.floor(centers).astype(np.int64) - self.geometry.crops[self.crop][axis]
        return np.where((index >= 0) & (index < self.geometry.crop_size[axis]), index, -1)


def read_clip_view(
    source: object,
    protocol: Protocol,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    fps: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> ClipView:
    """Read the middle view; arguments as of ``read_views``. Raises DataError."""
    with open_clip_source(source, protocol, fps, value_range) as reader:
        return clip_view_of(reader, protocol, start_seconds, end_seconds)


def clip_view_of(
    reader: Reader, protocol: Protocol, start_seconds: float | None = None, end_seconds: float | None = None
) -> ClipView:
    """The middle view of an opened source, or of a stretch of it. Raises DataError."""
    plans = row_views(reader.timestamps, start_seconds, end_seconds, protocol)
    return view_of_plan(reader, protocol, plans[len(plans) // 2])


def view_of_plan(reader: Reader, protocol: Protocol, plan: ClipPlan) -> ClipView:
    """The central crop of the frames of a plan. Raises DataError."""
    geometry = view_geometry(reader.height, reader.width, protocol)
    crop = len(geometry.crops) // 2
    crops, (rows,) = read_crops(reader, [plan], geometry, may_round=False)
    return ClipView(
        pixels=crops[crop][rows].transpose(0, 1).contiguous(),
        indices=tuple(plan.indices),
        seconds=tuple(float(reader.timestamps[i]) for i in plan.indices),
        until=_until(plan.indices, np.asarray(reader.timestamps, dtype=np.float64)),
        frame_numbers=torch.tensor(plan.frame_numbers),
        geometry=geometry,
        crop=crop,
        notes=tuple(dict.fromkeys((*reader.notes, *plan.notes))),
    )


def _until(indices: Sequence[int], times: Float[np.ndarray, " N"]) -> tuple[float, ...]:
    """When the frames of a clip are followed by others; a clip that loops, or holds its last frame, repeats some."""
    end = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
    ends = []
    for place, index in enumerate(indices):
        following = next((other for other in indices[place + 1 :] if other != index), -1)
        if following < index:  # behind it the clip begins anew, or ends
            following = index + 1
        ends.append(float(times[following]) if following < len(times) else end)
    return tuple(ends)
