"""All frames of the sources of a manifest, in order, in chunks that worker processes read ahead.

Frames are those of the centered view and equal those of ``ClipDataset`` bit by bit, so that features computed from them
are right for any clip. Each source is read once, however many rows are segments of it.

    n  frames of a chunk   N  frames of a source
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubelet.data.clips.frame_sampling import ClipPlan
from tubelet.data.clips.resize_crop import view_geometry
from tubelet.data.clips.segments import segment as frames_of_segment
from tubelet.data.loading.read_views import read_crops
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.open_source import naming_file, open_source
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.protocol import Protocol

FRAMES_PER_CHUNK = 64  # 10 MB at 224 x 224


@dataclass(frozen=True)
class SourceSegments:
    """A video or volume, and the segments of it that rows use."""

    path: str  # as in the manifest
    entry: str | None
    fps: float | None
    segments: tuple[Sample, ...]  # one row of each distinct segment
    rows: tuple[int, ...]  # of the manifest

    @property
    def name(self) -> str:
        """The name in messages."""
        return self.path if self.entry is None else f"{self.path}:{self.entry}"


ChunkOfSource = tuple[SourceSegments, int]  # and the number of the chunk


@dataclass(frozen=True, kw_only=True)
class FrameChunk:
    """Some frames of a source."""

    pixels: NDArray[np.uint8]  # [n, C, h, w]
    frame_numbers: NDArray[np.int64]  # [n]
    timestamps: NDArray[np.float64]  # [N] seconds, of all frames
    num_chunks: int  # of the source
    is_video: bool
    notes: tuple[str, ...] = ()  # what the user should know of the source


def sources_of(manifest: Manifest) -> tuple[SourceSegments, ...]:
    """The sources of a manifest's rows, in its order."""
    rows: dict[tuple[str, str | None, float | None], list[int]] = {}
    for row, sample in enumerate(manifest.samples):
        rows.setdefault((sample.path, sample.entry, sample.fps), []).append(row)
    return tuple(
        SourceSegments(
            *key,
            tuple({s.segment: s for s in map(manifest.samples.__getitem__, of_source)}.values()),
            tuple(of_source),
        )
        for key, of_source in rows.items()
    )


@dataclass(frozen=True)
class FrameChunkReader:
    """Reads chunks of frames in a worker pool: a row is a source and the number of a chunk."""

    root: Path
    protocol: Protocol
    indices: IndexStore  # of the videos' packets

    def name(self, row: ChunkOfSource) -> str:
        """The name of the source in messages."""
        source, _ = row
        return str(self.root / source.path) + (f":{source.entry}" if source.entry else "")

    def run(self, row: ChunkOfSource, allow: Callable[[float], None]) -> FrameChunk:
        """One chunk of a source. Raises DataError."""
        source, chunk = row
        path = self.root / source.path
        with (
            naming_file(path, self.name(row)),
            open_source(path, source.entry, self.protocol, source.fps, self.indices) as reader,
        ):
            rule = self.protocol.frame_at_time
            bounds = [segment.bounds(reader.timestamps) for segment in source.segments]
            ranges = [range(*frames_of_segment(reader.timestamps, *times, rule)) for times in bounds]
            wanted = sorted(set(itertools.chain.from_iterable(ranges)))
            part = wanted[chunk * FRAMES_PER_CHUNK : (chunk + 1) * FRAMES_PER_CHUNK]
            geometry = view_geometry(reader.height, reader.width, replace(self.protocol, num_spatial_crops=1))
            plan = ClipPlan(indices=tuple(part), seconds_covered=0.0)
            (pixels,), _ = read_crops(reader, [plan], geometry, may_round=False)
            return FrameChunk(
                pixels=np.ascontiguousarray(pixels.numpy()),
                frame_numbers=np.array(part, dtype=np.int64),
                timestamps=np.array(reader.timestamps, dtype=np.float64),
                num_chunks=-(-len(wanted) // FRAMES_PER_CHUNK),
                is_video=isinstance(reader, VideoReader),
                notes=tuple(reader.notes),
            )


def read_chunks(
    chunk_reader: FrameChunkReader,
    sources: Sequence[SourceSegments],
    numbers: Sequence[int],
    num_workers: int,
    timeout_seconds: float,
) -> Iterator[tuple[int, FrameChunk | Failure]]:
    """Number of the source and chunk, source by source and chunk by chunk.

    Of a source that fails, nothing comes after its failure.

    Args:
        chunk_reader: what reads a chunk.
        sources: those that ``numbers`` index.
        numbers: the sources to read, in order.
        num_workers: processes that decode. 0 decodes in this process.
        timeout_seconds: a worker that reads one chunk for longer is killed, and its source counts as failed.
    """
    if num_workers == 0:
        for number in numbers:
            yield from ((number, result) for result in _source_here(chunk_reader, sources[number]))
        return
    with closing(WorkerPool(chunk_reader, num_workers, timeout_seconds)) as pool:
        begun: deque[Future[FrameChunk | Failure]] = deque(pool.submit((sources[n], 0)) for n in numbers[:num_workers])
        for place, number in enumerate(numbers):
            first = begun.popleft().result()
            if place + num_workers < len(numbers):
                begun.append(pool.submit((sources[numbers[place + num_workers]], 0)))
            yield number, first
            if isinstance(first, FrameChunk):
                rest = _rest_of_source(pool, sources[number], first.num_chunks, num_workers)
                yield from ((number, result) for result in rest)


def _source_here(chunk_reader: FrameChunkReader, source: SourceSegments) -> Iterator[FrameChunk | Failure]:
    chunk, num_chunks = 0, 1
    while chunk < num_chunks:
        try:
            result = chunk_reader.run((source, chunk), lambda seconds: None)
        except DataError as error:
            yield Failure(str(error))
            return
        yield result
        chunk, num_chunks = chunk + 1, result.num_chunks


def _rest_of_source(
    pool: WorkerPool[ChunkOfSource, FrameChunk], source: SourceSegments, num_chunks: int, num_ahead: int
) -> Iterator[FrameChunk | Failure]:
    chunks = iter(range(1, num_chunks))
    ahead = deque(pool.submit((source, chunk)) for chunk in itertools.islice(chunks, num_ahead))
    while ahead:
        result = ahead.popleft().result()
        yield result
        if isinstance(result, Failure):
            for future in ahead:
                future.cancel()
            return
        ahead.extend(pool.submit((source, chunk)) for chunk in itertools.islice(chunks, 1))
