"""Open the file of a row: a video, a frame folder, a volume, or a member of a tar shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tubelet.data.sources.dicom import DicomReader, is_dicom
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.shard_reader import ShardVideoReader, read_member_volume
from tubelet.data.sources.shards import is_shard, is_volume_row
from tubelet.data.sources.volume import ArrayReader, read_volume
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.errors import DataError, is_out_of_memory, memory_line, reason
from tubelet.files import lfs_pointer
from tubelet.protocol import Protocol

TOO_LITTLE_MEMORY = "use fewer reading processes (num_workers), or leave the file out"

Reader = VideoReader | ArrayReader | FrameFolderReader | DicomReader


def open_source(
    path: Path,
    entry: str | None,
    protocol: Protocol,
    fps: float | None = None,
    indices: IndexStore | None = None,
) -> Reader:
    """Open the frames of a file.

    Args:
        path: the file or frame folder.
        entry: the address of one sample in a file that holds many.
        protocol: channels, slicing, intensity windows, and how HDR and interlaced frames become pictures.
        fps: frames per second of a frame folder. None means unknown.
        indices: the store of packet indices. It remembers the index of a video that it did not have.

    Raises:
        DataError: the file cannot be opened as the protocol asks.
    """
    if is_volume_row(path, entry):
        read = read_member_volume if is_shard(path) else read_volume
        volume = ArrayReader(read(path, entry, protocol.num_channels, protocol.volume_window))
        return volume.along_axis(protocol.slicing_axis, protocol.slicing_backward)
    if protocol.slicing_axis or protocol.slicing_backward:
        raise DataError(f"{path}: is a video, but the protocol slices volumes (slicing_axis, slicing_backward)")
    if protocol.num_channels != 3:
        raise DataError(f"{path}: a video has 3 channels, but the protocol asks for {protocol.num_channels}")
    if fps is not None and not 0 < fps < float("inf"):
        raise DataError(f"{path}: fps={fps:g}; expected the frames per second of a frame folder, above 0")
    if path.is_dir():
        if fps is None and protocol.sampling == "dense" and protocol.target_fps is not None:
            raise DataError(
                f"{path}: the protocol samples {protocol.target_fps:g} frames per second, and the rate of this frame "
                "folder is not known; give it: --frame-fps in commands that predict, data.manifest.frame_fps in "
                "recipes, fps in Python"
            )
        return FrameFolderReader(path, fps, protocol.picture_window)
    if fps is not None and path.exists():
        raise DataError(f"{path}: fps={fps:g} is for frame folders; a video carries its own times, leave it out")
    if is_dicom(path):
        return DicomReader(path, protocol.volume_window, Rendering.of(protocol))
    return _open_video(path, entry, Rendering.of(protocol), indices)


def _open_video(path: Path, entry: str | None, rendering: Rendering, indices: IndexStore | None) -> VideoReader:
    video = (path, entry) if entry else path
    index = indices.get(video) if indices else None
    if is_shard(path):
        reader: VideoReader = ShardVideoReader(path, entry, index, rendering)
    else:
        reader = VideoReader(path, index, rendering=rendering)
    if indices and reader.index is not index:
        indices.remember(video, reader.index)
    return reader


@contextmanager
def naming_file(path: Path, name: str) -> Iterator[None]:
    """Turn any error that makes a source unreadable into a DataError of one line that names the file."""
    try:
        yield
    except (DataError, OSError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise DataError(f"{name}: {memory_line(error)}; {TOO_LITTLE_MEMORY}") from error
        if isinstance(error, RuntimeError):
            raise
        if (pointer := lfs_pointer(path)) is not None:
            raise DataError(f"{name}: {pointer}") from error
        line = reason(error)
        if isinstance(error, DataError) and str(path) in line:
            raise
        raise DataError(f"{name}: {line}") from error
