"""Where the time of reading goes: training clips of a manifest, stage by stage, in one process with one thread.

Stages: *open* (the packet index, and the codec), *decode* (packets to frames), *convert* (crop, scale, YUV to RGB),
*augment* (what is random in training, on uint8 clips) and *collate* (into one batch). A stage's time is what reading
takes with it minus what it takes without it, so that stages add up to the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from tubelet.data.augment import AugmentConfig
from tubelet.data.dataset import ClipDataset, keyed_generator
from tubelet.data.index_store import IndexStore
from tubelet.data.manifest import Manifest
from tubelet.data.sampling import random_clip, segment
from tubelet.data.shards import is_shard, is_volume_row
from tubelet.data.source import open_source
from tubelet.data.transforms import random_geometry, reading_window
from tubelet.data.video import VideoReader, is_video_path
from tubelet.errors import DataError
from tubelet.protocol import Protocol

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Seconds per clip of each stage, means over the clips that were read."""

    open: float
    decode: float
    convert: float
    augment: float
    collate: float

    @property
    def total(self) -> float:
        """Seconds per clip."""
        return sum(getattr(self, field.name) for field in fields(self))

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
    """Reads random training clips of videos.

    Args:
        manifest: videos; each row at most once.
        protocol: sampling and size.
        augment: what else is random.
        num_clips: to read, if the manifest has so many.
        batch_size: clips that are put together.
        on_clip: told how many of how many clips are done.

    Returns:
        The stages, and the clips that could not be read, each with one line.

    Raises:
        DataError: no row is a video, or none can be read.
    """
    videos = [i for i, row in enumerate(manifest.samples) if is_video_path(row.path) or is_shard(row.path)]
    videos = [i for i in videos if not is_volume_row(manifest.samples[i].path, manifest.samples[i].entry)]
    videos = [i for i in videos if manifest.path_of(manifest.samples[i]).is_file()]
    if not videos:
        raise DataError(f"{manifest.root}: no row is a video file; bench measures how videos are read")
    rows = np.random.default_rng(0).permutation(videos)[:num_clips].tolist()
    dataset, store = ClipDataset(manifest, protocol, augment=augment), IndexStore.beside(manifest.root)
    batch = torch.empty((batch_size, *dataset.item_shape), dtype=torch.uint8)
    spent, failures, done = np.zeros(5), dict[str, str](), 0
    _touch(manifest, rows)
    for number, row in enumerate(rows):
        try:
            opened, decoded, converted = _read(manifest, protocol, augment, store, row)
            item, read = _timed(partial(dataset.read, row))
        except DataError as error:
            failures[dataset.name(row)] = str(error)
            continue
        _, collated = _timed(partial(batch[number % batch_size].copy_, item.pixels))
        spent += opened, decoded - opened, converted - decoded, read - converted, collated
        done += 1
        on_clip(number + 1, len(rows))
    if not done:
        raise DataError(f"no clip could be read; the first: {next(iter(failures.values()))}")
    means = np.maximum(spent / done, 0.0).tolist()
    names = [field.name for field in fields(Stages)]
    return Stages(**dict(zip(names, means, strict=True))), failures


def _read(
    manifest: Manifest, protocol: Protocol, augment: AugmentConfig, store: IndexStore, row: int
) -> tuple[float, float, float]:
    """Seconds to open; to open and decode; to open, decode and convert: the clip that ``ClipDataset.read`` reads."""
    sample = manifest.samples[row]
    path, rng = manifest.path_of(sample), keyed_generator(0, 0, row)

    def opened() -> VideoReader:
        reader = open_source(path, sample.entry, protocol, indices=store)
        assert isinstance(reader, VideoReader)  # no other row is measured
        return reader

    reader, seconds_to_open = _timed(opened)
    with reader:
        first, stop = segment(reader.timestamps, sample.start_seconds, sample.end_seconds)
        times = reader.timestamps[first:stop]
        plan = random_clip(times, protocol, rng, first=first, snap=augment.snap_start)
        geometry = random_geometry(reader.height, reader.width, protocol, augment, rng)
        indices = sorted({index + first for index in plan.indices})
        window, _ = reading_window(geometry, may_round=True)
        _, seconds_to_decode = _timed(lambda: reader.decode_only(indices))
    with opened() as reader:
        _, seconds_to_convert = _timed(lambda: reader.frames_at(indices, window))
    return seconds_to_open, seconds_to_open + seconds_to_decode, seconds_to_open + seconds_to_convert


def _touch(manifest: Manifest, rows: list[int]) -> None:
    """Reads the files once, so that the disk is not measured for the stage that comes first."""
    for row in rows:
        manifest.path_of(manifest.samples[row]).read_bytes()


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
