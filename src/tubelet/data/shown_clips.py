"""Clips as a dataset gives them, for a person to look at, and a check of their colors against the whole frames.

The mean color of a crop says little beside that of its frame: a crop of grass below a sky differs from the whole by
tens of levels, and by how much is chance. What can be known is the same window of the whole frame, converted without
cropping: the two differ by resampling and by half a pixel of the crop's place alone. So the check compares the means
of 4 x 4 tiles of the crop, before colors are augmented, with those of that window. ``benchmarks/crop_colors.py``
measures it on sound footage (``docs/results/crop_colors.json``): random crops differ from their frames by up to 120
levels, and from their windows by at most 7. Misread chroma and a wrong frame differ by tens.

    T  frames        C  channels        H, W  pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from tubelet.data.clips.frame_sampling import ClipPlan, row_views
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.pixel_augmentation import augment_pixels
from tubelet.data.clips.resize_crop import Geometry, crop_frames, resize_frames, view_geometry
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import Item
from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.segments import segment_text
from tubelet.data.sources.open_source import Reader, naming_file
from tubelet.data.video.frame_times import ROUNDING_SECONDS
from tubelet.errors import DataError

MAX_DIFFERENCE = 15.0  # levels of 255 by which a crop may differ from its window
_COMPARED_FRAMES = 4  # of a clip, evenly spread: whole frames take memory
_TILES = (4, 4)
_PLAIN = 2.0  # levels: a clip whose pixels deviate less from their mean is of one color

Color = tuple[float, ...]  # of each channel, 0 to 255


@dataclass(frozen=True, kw_only=True)
class ShownClip:
    """One clip of a row. ``pixels`` and what is measured of them are None where ``error`` says why there are none."""

    row: int  # in the manifest
    name: str  # file, address and segment
    label: str  # all classes, by name; empty if unknown
    view: int = 0  # which of ``num_views``, from 0
    num_views: int = 1
    pixels: UInt8[Tensor, "T C H W"] | None = None  # as they enter normalization
    seconds: tuple[float, ...] = ()  # when each frame appears in its source; of a volume the number of the slice
    crop_color: Color | None = None  # mean of the compared frames, before colors are augmented
    frame_color: Color | None = None  # mean of the same frames, whole
    difference: float | None = None  # levels between the crop and the same window of the whole frames
    flags: tuple[str, ...] = ()  # what is most likely wrong
    notes: tuple[str, ...] = ()  # of the reader and of the clip
    error: str | None = None


def spread_rows(manifest: Manifest, num: int, seed: int) -> list[int]:
    """``num`` rows of a manifest, or all: from every class in turn, at random by ``seed``, ordered by class."""
    rng, by_class = keyed_generator(seed), dict[tuple[int, ...], list[int]]()
    for row in rng.permutation(len(manifest)).tolist():
        sample = manifest.samples[row]
        by_class.setdefault(sample.labels[:1], []).append(row)
    turns = sorted(
        ((turn, row) for rows in by_class.values() for turn, row in enumerate(rows)), key=lambda pair: pair[0]
    )
    chosen = [row for _, row in turns[:num]]
    return sorted(chosen, key=lambda row: (manifest.samples[row].labels[:1], row))


def show_clips(
    dataset: ClipDataset, rows: list[int], *, all_views: bool = False, on_row: Callable[[int, int], None]
) -> Iterator[ShownClip]:
    """The clips of these rows, read by the dataset, one after the other.

    Args:
        dataset: in train mode it augments later (``augment_later``), so that crops can be compared before that.
        rows: of its manifest.
        all_views: in views mode, a clip for every view. Else the middle one, as reports show it.
        on_row: called with how many rows are done, and how many there are.
    """
    for done, row in enumerate(rows, 1):
        try:
            yield from _clips_of(dataset, row, all_views=all_views)
        except DataError as error:
            yield replace(_named(dataset.manifest, row), error=str(error))
        on_row(done, len(rows))


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Where the pixels of one clip come from."""

    reader: Reader
    plan: ClipPlan
    geometry: Geometry
    crop: int  # which of the crops of ``geometry``
    target_fps: float | None  # samples per second; None where frames are not sampled by time


def _clips_of(dataset: ClipDataset, row: int, *, all_views: bool) -> Iterator[ShownClip]:
    item, sample = dataset.read(row), dataset.manifest.samples[row]
    protocol, is_jittered = dataset.protocol, dataset.mode == "train" and bool(dataset.augment.stride_jitter)
    rate = protocol.target_fps if protocol.sampling == "dense" and not is_jittered else None
    with (
        naming_file(dataset.manifest.path_of(sample), dataset.name(row)),
        dataset.open(row) as reader,
    ):
        if dataset.mode == "train":
            drawn = dataset.draw(reader, row)
            windows = [_Window(reader=drawn.reader, plan=drawn.plan, geometry=drawn.geometry, crop=0, target_fps=rate)]
            clips = item.pixels[None]
        else:
            geometry = view_geometry(reader.height, reader.width, protocol)
            plans = row_views(reader.timestamps, *sample.bounds(reader.timestamps), protocol)
            crops = range(len(geometry.crops))
            windows = [
                _Window(reader=reader, plan=plan, geometry=geometry, crop=crop, target_fps=rate)
                for crop in crops
                for plan in plans
            ]
            clips = item.pixels
        for view in range(len(windows)) if all_views else [len(windows) // 2]:
            named = _named(dataset.manifest, row, view, len(windows))
            yield _shown(clips[view].transpose(0, 1), windows[view], item, named)


def _shown(crop: UInt8[Tensor, "T C H W"], window: _Window, item: Item, named: ShownClip) -> ShownClip:
    compared = np.unique(np.linspace(0, len(crop) - 1, _COMPARED_FRAMES).round().astype(int)).tolist()
    whole = window.reader.frames_at([window.plan.indices[i] for i in compared]).pixels
    in_window = crop_frames(resize_frames(whole, window.geometry), window.geometry)[window.crop]
    difference = window_difference(crop[compared], in_window)
    pixels = crop if item.augmentation is None else augment_pixels(crop, item.augmentation)
    return replace(
        named,
        pixels=pixels.contiguous(),
        seconds=tuple(float(window.reader.timestamps[i]) for i in window.plan.indices),
        crop_color=_mean(crop[compared]),
        frame_color=_mean(whole),
        difference=difference,
        flags=(*_flags(pixels, difference), *_flags_of_times(window)),
        notes=tuple(dict.fromkeys((*item.notes, *window.reader.notes))),
    )


def window_difference(crop: UInt8[Tensor, "T C H W"], window: UInt8[Tensor, "T C H W"]) -> float:
    """How far a crop is from the same window of the whole frames, in levels of 255.

    The mean of the differences of 4 x 4 tiles, of the frame and the channel where it is largest.
    """
    tiles = [F.adaptive_avg_pool2d(frames.float(), _TILES) for frames in (crop, window)]
    return float((tiles[0] - tiles[1]).abs().mean(dim=(2, 3)).max())


def _flags(pixels: UInt8[Tensor, "T C H W"], difference: float) -> Iterator[str]:
    if difference > MAX_DIFFERENCE:
        yield f"colors are {difference:.0f} levels from those of the same window of the whole frame"
    if float(pixels.float().std(dim=(0, 2, 3), correction=0).max()) < _PLAIN:
        yield f"nearly all pixels are {tuple(round(value) for value in _mean(pixels))}"


def _flags_of_times(window: _Window) -> Iterator[str]:
    """Whether there is no start from which on each frame would be on screen at its time of a steady rate."""
    if window.target_fps is None or window.plan.notes:  # a clip that is looped has no steady times
        return
    indices, timestamps = list(window.plan.indices), window.reader.timestamps
    asked = np.arange(len(indices)) / window.target_fps
    earliest = (timestamps[indices] - asked).max()
    latest = (np.append(timestamps[1:], np.inf)[indices] - asked).min()
    if earliest > latest + 2 * ROUNDING_SECONDS:
        yield f"frames are not those on screen {window.target_fps:g} times per second"


def _mean(frames: UInt8[Tensor, "T C H W"]) -> Color:
    return tuple(frames.to(torch.float32).mean(dim=(0, 2, 3)).tolist())


def _named(manifest: Manifest, row: int, view: int = 0, num_views: int = 1) -> ShownClip:
    """The clip of a row before it is read."""
    sample = manifest.samples[row]
    names = [
        names[label]
        for place, names in enumerate(manifest.class_names.values())
        for label in labels_of(sample.labels, place, multi_label=manifest.multi_label)
    ]
    name = sample.path + (f":{sample.entry}" if sample.entry else "") + segment_text(sample)
    return ShownClip(row=row, name=name, label=", ".join(names), view=view, num_views=num_views)
