"""Where the time of reading goes: training clips of a manifest, stage by stage, in one process with one thread.

Stages: *open* (of a video the packet index and the codec; of a volume all of it), *decode* (packets, pictures or
slices to frames), *convert* (crop, scale, YUV to RGB), *augment* (what is random in training, on uint8 clips), *copy*
(frames that a clip shows twice, and the order C T H W) and *collate* (into one batch). Each is timed on what
``ClipDataset.read`` does with the same clip; converting a video is not apart from decoding it there, so that its time
is what both take minus what decoding alone takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.pixel_augmentation import augment_pixels
from tubelet.data.loading.clip_dataset import ClipDataset, DrawnClip
from tubelet.data.loading.views import read_crops
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.open import Reader, naming_file
from tubelet.data.sources.shards import is_shard, read_member
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.protocol import Protocol

T = TypeVar("T")

_READ_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Seconds per clip of each stage, means over the clips that were read."""

    open: float
    decode: float
    convert: float
    augment: float
    copy: float
    collate: float

    @property
    def total(self) -> float:
        """Seconds per clip."""
        return float(sum(astuple(self)))

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(fields(self), key=lambda field: getattr(self, field.name)).name


def measure_stages(
    manifest: Manifest,
    protocol: Protocol,
    augment: AugmentConfig,
    num_clips: int,
    batch_size: int,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Stages, dict[str, str]]:
    """Reads random training clips.

    Args:
        manifest: videos, frame folders or volumes; each row at most once.
        protocol: sampling and size.
        augment: what else is random.
        num_clips: to read, if the manifest has so many.
        batch_size: clips that are put together.
        on_clip: told how many of how many clips are done.

    Returns:
        The stages, and the clips that could not be read, each with one line.

    Raises:
        DataError: no row can be read.
    """
    rows = np.random.default_rng(0).permutation(len(manifest))[:num_clips].tolist()
    dataset = ClipDataset(manifest, protocol, augment=augment)
    # The memory of a batch is used again and again: pages are handed out by the system before the first clip.
    batch = torch.empty((batch_size, *dataset.item_shape), dtype=torch.uint8).fill_(0)
    found, failures, touched = list[Stages](), dict[str, str](), set[tuple[Path, str | None]]()
    for number, row in enumerate(rows):
        sample, slot = manifest.samples[row], batch[number % batch_size]
        path = manifest.path_of(sample)
        try:
            with naming_file(path, dataset.name(row)):
                _touch(path, sample, touched)
                if not found:
                    _stages(dataset, row, slot)  # what is slow the first time only
                found.append(_stages(dataset, row, slot))
        except DataError as error:
            failures[dataset.name(row)] = str(error)
        on_clip(number + 1, len(rows))
    if not found:
        raise DataError(f"no clip could be read; the first: {next(iter(failures.values()))}")
    means = np.mean([astuple(stages) for stages in found], axis=0).tolist()
    return Stages(**dict(zip((field.name for field in fields(Stages)), means, strict=True))), failures


def _stages(dataset: ClipDataset, row: int, slot: UInt8[Tensor, "C T H W"]) -> Stages:
    """Seconds of one clip, the one that ``ClipDataset.read`` reads; it is written into ``slot``."""
    reader, seconds_to_open = _timed(partial(dataset.open, row))
    with reader:
        _, seconds_to_decode = _timed(partial(_decode, dataset, reader, row))
    with dataset.open(row) as reader:
        (drawn, frames, places), seconds_to_read = _timed(partial(_read, dataset, reader, row))
    clip, seconds_to_repeat = _timed(lambda: frames[places])
    clip, seconds_to_augment = _timed(lambda: augment_pixels(clip, drawn.augmentation))
    pixels, seconds_to_order = _timed(lambda: clip.transpose(0, 1).contiguous())
    _, seconds_to_collate = _timed(lambda: slot.copy_(pixels))
    return Stages(
        open=seconds_to_open,
        decode=seconds_to_decode,
        convert=max(0.0, seconds_to_read - seconds_to_decode),
        augment=seconds_to_augment,
        copy=seconds_to_repeat + seconds_to_order,
        collate=seconds_to_collate,
    )


def _decode(dataset: ClipDataset, reader: Reader, row: int) -> None:
    """The frames of the clip as they are; those of a video without their conversion to RGB."""
    drawn = dataset.draw(reader, row)
    indices = sorted(set(drawn.plan.indices))
    if isinstance(drawn.reader, VideoReader):
        drawn.reader.decode_only(indices)
    else:
        drawn.reader.frames_at(indices)


def _read(dataset: ClipDataset, reader: Reader, row: int) -> tuple[DrawnClip, Tensor, Tensor]:
    """What is drawn, the distinct frames of the clip in its size, and the places in it where they are shown."""
    drawn = dataset.draw(reader, row)
    (frames,), (places,) = read_crops(drawn.reader, [drawn.plan], drawn.geometry, may_round=dataset.may_round)
    return drawn, frames, places


def _touch(path: Path, sample: Sample, touched: set[tuple[Path, str | None]]) -> None:
    """Reads a file once, so that the disk is not measured for the stage that comes first."""
    place = (path, sample.entry if is_shard(path) else None)
    if place in touched:
        return
    touched.add(place)
    if is_shard(path):
        read_member(path, sample.entry)
        return
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while stream.read(_READ_BYTES):
                pass


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
