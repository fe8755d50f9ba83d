"""Index the packets of all videos of a manifest in parallel, in processes that may hang or crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tubelet.data.layouts.config import MAX_LOOKED_AT
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS
from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.sources.shards import is_shard, is_volume_row, member_range
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore, Video
from tubelet.errors import DataError
from tubelet.session.session import Session

_WRITE_SECONDS = 5.0  # between two writes of the store: a kill loses the work of so many seconds


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """The result of ``index_files``."""

    num_files: int
    num_made: int  # the store had the others
    failures: dict[Video, str]  # videos without an index, and the reason in one line


class PacketIndexer:
    """Indexes videos in a worker pool."""

    def name(self, video: Video) -> str:
        """The name of the video in messages."""
        return str(video) if isinstance(video, Path) else f"{video[0]}:{video[1]}"

    def run(self, video: Video, allow: Callable[[float], None]) -> PacketIndex:
        """The index of one video."""
        return PacketIndex.of(video) if isinstance(video, Path) else PacketIndex.of(video[0], member_range(*video))


def video_files(manifest: Manifest) -> list[Video]:
    """The videos of a manifest whose files exist, each once, in order. Videos in shards come with their address."""
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
    """Index the videos whose index the store lacks or whose file has changed.

    Args:
        store: where indices are kept. It is written every few seconds, so that an interrupted call can go on.
        files: videos, in files of their own or in shards.
        num_workers: number of processes, at least 1.
        on_file: called with how many files are done, and how many there are.
        timeout_seconds: the process of a file that takes longer is killed.

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
        results = in_order(PacketIndexer(), todo, num_workers, timeout_seconds)
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
    finally:  # ``on_file`` raises when the run is asked to stop; finished work is kept
        if made:
            store.put(made)
    return Indexed(num_files=len(files), num_made=written + len(made), failures=failures)


def index_manifest(
    manifest: Manifest, num_workers: int, session: Session, timeout_seconds: float = DECODE_TIMEOUT_SECONDS
) -> None:
    """Index the videos of a manifest in parallel before they are read many times.

    Reading works without this. If neither the folder of the data nor that of the manifest can be written, the
    session notes it once, and each reading process indexes its files for itself. A file that cannot be indexed is left
    to the reader, which counts and names it.

    Args:
        manifest: the rows that will be read. Rows that are no videos need no index.
        num_workers: number of processes. 0 still uses one process, because a file may hang.
        session: notes what the user should know, and reports how many files are indexed.
        timeout_seconds: the process of a file that takes longer is killed.
    """
    if len(manifest) > MAX_LOOKED_AT:
        session.progress.note(f"videos are indexed as they are read, because there are more than {MAX_LOOKED_AT:,}")
        return
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
