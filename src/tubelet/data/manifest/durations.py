"""How long the rows of a manifest are, in seconds. Each file is opened once, and only its header is read.

A segment with both ends has its own length. Else the length comes from the container's header, or from the number of
pictures of a frame folder and its rate. Volumes have slices and no seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.segments import extent
from tubelet.data.sources.dicom import DicomReader, is_dicom
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.shards import is_shard
from tubelet.data.sources.volume import is_volume
from tubelet.data.video.container import container_seconds
from tubelet.errors import DataError

OnFile = Callable[[int, int], None]  # (files opened, files to open)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Statistics over the rows whose length is known."""

    num_known: int
    num_rows: int
    total_seconds: float
    min_seconds: float | None
    median_seconds: float | None
    max_seconds: float | None
    unreadable: tuple[str, ...] = ()  # one line per file that could not be opened


def measure_durations(
    manifest: Manifest, num_threads: int = 4, on_file: OnFile = lambda done, total: None
) -> Durations:
    """Measure the lengths of all rows. Every file is opened once, ``num_threads`` at a time."""
    fps = {row.path: row.fps for row in manifest.samples if row.end_seconds is None and not is_shard(row.path)}
    lengths: dict[str, float | None] = {}
    unreadable: list[str] = []
    with ThreadPoolExecutor(num_threads) as pool:
        results = pool.map(lambda path: _file_seconds(manifest.root / path, fps[path]), fps)
        for done, (path, result) in enumerate(zip(fps, results, strict=True), 1):
            lengths[path] = None if isinstance(result, DataError) else result
            if isinstance(result, DataError):
                unreadable.append(str(result))
            on_file(done, len(fps))
    untimed = _untimed(manifest)
    rows = [row for row in manifest.samples if row.path not in untimed]
    known = [seconds for row in rows if (seconds := _row_seconds(row, lengths)) is not None]
    return Durations(
        num_known=len(known),
        num_rows=len(manifest),
        total_seconds=float(sum(known)),
        min_seconds=min(known, default=None),
        median_seconds=median(known) if known else None,
        max_seconds=max(known, default=None),
        unreadable=tuple(unreadable),
    )


def _row_seconds(row: Sample, lengths: dict[str, float | None]) -> float | None:
    start, end, unit = extent(row)
    known = lengths.get(row.path) if math.isinf(end) else end
    return None if known is None or unit == "frames" else max(0.0, known - start)


def _untimed(manifest: Manifest) -> set[str]:
    """The frame folders of unknown rate, whose times are frame numbers."""
    paths = {row.path for row in manifest.samples if row.fps is None and row.end_seconds is not None}
    return {path for path in paths if (manifest.root / path).is_dir()}


def _file_seconds(path: Path, fps: float | None) -> float | DataError | None:
    """Seconds of a file, or None if unknown. An error is returned, so that it does not stop the other files."""
    try:
        if is_volume(path):
            return None
        if path.is_dir():
            return None if fps is None else FrameFolderReader(path, fps).duration_seconds
        if is_dicom(path):
            with DicomReader(path) as reader:
                return reader.duration_seconds
        return container_seconds(path)
    except DataError as error:
        return error
