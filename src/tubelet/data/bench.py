"""Measures where the time of reading training clips goes, stage by stage, in one process with one thread.

Stages: *open* (of a video the packet index and the codec; of a volume all of it), *decode* (packets, pictures or
slices to frames), *convert* (crop, scale, YUV to RGB), *augment* (pixel augmentation), *copy* (repeat frames that a
clip shows twice, and order C T H W) and *collate* (into one batch). Each stage does what ``ClipDataset.read`` does
with the same clip. A video is decoded and converted together, so the time of converting is the time of both minus
that of a decode alone.
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
from tubelet.data.loading.read_views import read_crops
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.open_source import Reader, naming_file
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
    """Read random training clips and time every stage.

    Args:
        manifest: videos, frame folders or volumes. Each row is read at most once.
        protocol: sampling and size.
        augment: what else is random.
        num_clips: number of clips to read, if the manifest has so many.
        batch_size: clips of a batch.
        on_clip: called with how many clips are done, and how many there are.

    Returns:
        The stages, and for each clip that could not be read the reason in one line.

    Raises:
        DataError: no row can be read.
    """
    rows = np.random.default_rng(0).permutation(len(manifest))[:num_clips].tolist()
    dataset = ClipDataset(manifest, protocol, augment=augment)
    # One batch is reused. Filling it makes the system hand out its pages before the first clip is timed.
    batch = torch.empty((batch_size, *dataset.item_shape), dtype=torch.uint8).fill_(0)
    found, failures, touched = list[Stages](), dict[str, str](), set[tuple[Path, str | None]]()
    for number, row in enumerate(rows):
        sample, slot = manifest.samples[row], batch[number % batch_size]
        path = manifest.path_of(sample)
        try:
            with naming_file(path, dataset.name(row)):
                _touch(path, sample, touched)
                if not found:
                    _stages(dataset, row, slot)  # warm-up
                found.append(_stages(dataset, row, slot))
        except DataError as error:
            failures[dataset.name(row)] = str(error)
        on_clip(number + 1, len(rows))
    if not found:
        raise DataError(f"no clip could be read; the first: {next(iter(failures.values()))}")
    means = np.mean([astuple(stages) for stages in found], axis=0).tolist()
    return Stages(**dict(zip((field.name for field in fields(Stages)), means, strict=True))), failures


def _stages(dataset: ClipDataset, row: int, slot: UInt8[Tensor, "C T H W"]) -> Stages:
    """Seconds of one clip, as ``ClipDataset.read`` reads it. Writes the clip into ``slot``."""
    reader, seconds_to_open = _timed(partial(dataset.open, row))
    with reader:
        _, seconds_to_decode = _timed(partial(_decode, dataset, reader, row))
    with dataset.open(row) as reader:
        (drawn, frames, order), seconds_to_read = _timed(partial(_read, dataset, reader, row))
    clip, seconds_to_repeat = _timed(lambda: frames[order])
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
    """Decode the frames of the clip, without converting those of a video to RGB."""
    drawn = dataset.draw(reader, row)
    indices = sorted(set(drawn.plan.indices))
    if isinstance(drawn.reader, VideoReader):
        drawn.reader.decode_only(indices)
    else:
        drawn.reader.frames_at(indices)


def _read(dataset: ClipDataset, reader: Reader, row: int) -> tuple[DrawnClip, Tensor, Tensor]:
    """The draws, the distinct frames of the clip in its size, and the row of each of its frames among them."""
    drawn = dataset.draw(reader, row)
    (frames,), (order,) = read_crops(drawn.reader, [drawn.plan], drawn.geometry, may_round=dataset.may_round)
    return drawn, frames, order


def _touch(path: Path, sample: Sample, touched: set[tuple[Path, str | None]]) -> None:
    """Read a file once, so that the first stage does not include the disk."""
    key = (path, sample.entry if is_shard(path) else None)
    if key in touched:
        return
    touched.add(key)
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
