"""Packet indices of all videos of a manifest, made in parallel by processes that may hang or die."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tubelet.data.loading.watchdog import DECODE_TIMEOUT_SECONDS
from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.sources.shards import is_shard, is_volume_row, member_place
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore, Video
from tubelet.errors import DataError
from tubelet.session.session import Session

_WRITE_SECONDS = 5.0  # between two times that the store is written: what a kill can cost


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What ``index_files`` did."""

    num_files: int
    num_made: int  # the others were there
    failures: dict[Video, str]  # videos without an index, each with one line that says why


@dataclass(frozen=True)
class PacketIndexer:
    """Videos to index, for a ``WorkerPool``."""

    videos: tuple[Video, ...]

    def name(self, index: int) -> str:
        """The video as messages name it."""
        video = self.videos[index]
        return str(video) if isinstance(video, Path) else f"{video[0]}:{video[1]}"

    def run(self, index: int, epoch: int, allow: Callable[[float], None]) -> PacketIndex:
        """The index of one video."""
        video = self.videos[index]
        return PacketIndex.of(video) if isinstance(video, Path) else PacketIndex.of(video[0], member_place(*video))


def video_files(manifest: Manifest) -> list[Video]:
    """The videos of a manifest whose files exist, each once, in its order; those inside shards by their address."""
    videos: dict[Video, None] = {}
    for sample in manifest.samples:
        path = manifest.path_of(sample)
        if is_shard(path):
            if sample.entry and not is_volume_row(path, sample.entry):
                videos[path, sample.entry] = None
        elif is_video_path(path):
            videos[path] = None
    return [video for video in videos if (video if isinstance(video, Path) else video[0]).is_file()]


def index_files(
    store: IndexStore,
    files: Sequence[Video],
    num_workers: int = 2,
    on_file: Callable[[int, int], None] = lambda done, total: None,
    timeout_seconds: float = DECODE_TIMEOUT_SECONDS,
) -> Indexed:
    """Makes the indices that a store lacks; those that fit their files stay.

    Args:
        store: where they are kept; written every few seconds, so that an interrupted call goes on where it was.
        files: videos, in files of their own or in shards.
        num_workers: processes, at least 1.
        on_file: told how many of how many files are done.
        timeout_seconds: after which the process of a file that hangs is killed.

    Raises:
        DataError: the store cannot be written.
    """
    todo = tuple(file for file in files if store.get(file) is None)
    if todo:
        store.put({})  # raises before the work instead of after it
    done, failures, made, written = len(files) - len(todo), dict[Video, str](), dict[Video, PacketIndex](), 0
    on_file(done, len(files))
    due = time.monotonic() + _WRITE_SECONDS
    try:
        results = in_order(PacketIndexer(todo), len(todo), num_workers, timeout_seconds)
        for file, result in zip(todo, results, strict=True):
            if isinstance(result, Failure):
                failures[file] = result.line
            else:
                made[file] = result
            done += 1
            if time.monotonic() > due:
                store.put(made)
                written, made, due = written + len(made), {}, time.monotonic() + _WRITE_SECONDS
            on_file(done, len(files))
    finally:  # what is done stays done where ``on_file`` raises, for it is asked to stop
        if made:
            store.put(made)
    return Indexed(num_files=len(files), num_made=written + len(made), failures=failures)


def index_manifest(
    manifest: Manifest,
    num_workers: int,
    session: Session,
    timeout_seconds: float = DECODE_TIMEOUT_SECONDS,
) -> None:
    """Indexes the videos of a manifest in parallel before they are read many times.

    Reading works without: where nothing can be kept beside the data nor beside the manifest, one note says so,
    and every process that reads finds the packets of its files for itself. Files that cannot be indexed are left to
    the reader, which counts and names them.

    Args:
        manifest: the rows that will be read; those that are no videos need no index.
        num_workers: processes; for 0 one is used, for a file may hang.
        session: notes what the user should know, and reports how many files are indexed.
        timeout_seconds: after which the process of a file that hangs is killed.
    """
    files = video_files(manifest)
    if not files:
        return
    report = partial(session.advance, text="indexing videos")
    try:
        index_files(
            IndexStore.beside(manifest.root, manifest.folder), files, max(1, num_workers), report, timeout_seconds
        )
    except DataError as error:
        session.progress.note(f"every process that reads videos indexes them for itself, which costs time: {error}")
