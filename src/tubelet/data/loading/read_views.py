"""All views of one source, for evaluation and deployment, and the crops of a clip's frames, for training too.

Each frame is decoded once, however many views show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from tubelet.data.clips.frame_sampling import ClipPlan, row_views, seconds_covered
from tubelet.data.clips.resize_crop import Geometry, crop_frames, reading_window, resize_frames, view_geometry
from tubelet.data.loading.dataset import Item
from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.sources.python_input import frames_in_memory, path_of
from tubelet.data.sources.volume import ArrayReader, ValueWindow
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.protocol import Protocol

_SOURCE_BYTES = 256 * 2**20  # of decoded frames held at once before they are resized; 97 frames of 720p


def read_views(
    source: object,
    protocol: Protocol,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    fps: float | None = None,
    value_range: ValueWindow | None = None,
) -> Item:
    """Read all views of one source. The spatial crop is the outer index, the temporal clip the inner one.

    Args:
        source: the path of a video file, frame folder or ``.npy`` volume, or a clip in memory (``frames_in_memory``).
        protocol: sampling, size and views.
        start_seconds: start of the segment. None means the start of the source.
        end_seconds: end of the segment. None means the end of the source.
        fps: frames per second of a frame folder or a clip in memory. None means that frame numbers stand for seconds.
        value_range: the values of a clip in memory that are black and white. None means 0 and 255 of uint8.

    Raises:
        DataError: the source cannot be read as the protocol asks.
    """
    with open_clip_source(source, protocol, fps, value_range) as reader:
        return views_of(reader, protocol, start_seconds, end_seconds)


@contextmanager
def open_clip_source(
    source: object, protocol: Protocol, fps: float | None = None, value_range: ValueWindow | None = None
) -> Iterator[Reader]:
    """The frames of a source, opened; arguments as of ``read_views``. Raises DataError, naming the file."""
    path = path_of(source)
    if path is not None:
        if fps is not None and not path.is_dir():
            raise DataError(f"{path}: fps={fps:g} is for arrays and frame folders; a file has its own, leave it out")
        if value_range is not None:
            raise DataError(f"{path}: value_range is for arrays; leave it out (of a volume, protocol.volume_window)")
        with naming_file(path, str(path)), open_source(path, None, protocol, fps) as reader:
            yield reader
        return
    pixels = frames_in_memory(source, protocol, value_range)
    if fps is None and protocol.sampling == "dense" and protocol.target_fps is not None:
        raise DataError(f"array: the protocol samples {protocol.target_fps:g} frames per second; give the array's fps")
    yield ArrayReader(pixels, fps or 1.0).along_axis(protocol.slicing_axis, protocol.slicing_backward)


def views_of(reader: Reader, protocol: Protocol, start_seconds: float | None, end_seconds: float | None) -> Item:
    """All views of an opened source, as ``read_views``."""
    plans = row_views(reader.timestamps, start_seconds, end_seconds, protocol)
    geometry = view_geometry(reader.height, reader.width, protocol)
    crops, rows = read_crops(reader, plans, geometry, may_round=False)
    clips = (crop[row].transpose(0, 1) for crop in crops for row in rows)
    numbers = torch.tensor([plan.frame_numbers for plan in plans])
    notes = dict.fromkeys((*reader.notes, *(note for plan in plans for note in plan.notes)))
    return Item(
        pixels=torch.stack(list(clips)),
        labels=(),
        seconds_covered=seconds_covered(reader.timestamps, plans, start_seconds),
        frame_numbers=numbers.repeat(len(crops), 1),
        notes=tuple(notes),
    )


def read_crops(
    reader: Reader, plans: Sequence[ClipPlan], geometry: Geometry, *, may_round: bool
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Read the distinct frames of all plans, each once.

    Returns:
        The frames of each spatial crop, and for each plan the rows of its frames among them.
    """
    wanted = sorted({index for plan in plans for index in plan.indices})
    row_of = {index: row for row, index in enumerate(wanted)}
    rows = [torch.tensor([row_of[index] for index in plan.indices]) for plan in plans]
    if isinstance(reader, VideoReader):
        window, geometry = reading_window(geometry, may_round=may_round)
        return crop_frames(reader.frames_at(wanted, window).pixels, geometry), rows
    at_once = max(1, _SOURCE_BYTES // (3 * reader.height * reader.width))
    resized = [
        resize_frames(reader.frames_at(wanted[start : start + at_once]).pixels, geometry)
        for start in range(0, len(wanted), at_once)
    ]
    return crop_frames(resized[0] if len(resized) == 1 else torch.cat(resized), geometry), rows
