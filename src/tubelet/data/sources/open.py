"""The reader of a row's file, whatever kind of file it is, and which decoder reads videos."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tubelet.data.manifest.manifest import Manifest
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.shard_reader import ShardVideoReader, read_member_volume
from tubelet.data.sources.shards import is_shard, is_volume_row
from tubelet.data.sources.torchcodec_reader import TorchcodecReader, require_torchcodec
from tubelet.data.sources.volume import ArrayReader, read_volume
from tubelet.data.video.index_store import IndexStore
from tubelet.data.video.reader import VideoReader, is_video_path
from tubelet.errors import ConfigError, DataError
from tubelet.protocol import Protocol

Reader = VideoReader | ArrayReader | FrameFolderReader
Decoder = Literal["pyav", "torchcodec"]


def check_decoder(decoder: Decoder, manifest: Manifest) -> None:
    """Whether this decoder can read all rows of a manifest here.

    Raises:
        ConfigError: torchcodec or its FFmpeg is missing, or a row is no video file of its own.
    """
    if decoder == "pyav":
        return
    for sample in manifest.samples:
        path, kind = manifest.path_of(sample), None
        if is_volume_row(sample.path, sample.entry):
            kind = "a volume"
        elif is_shard(sample.path):
            kind = "in a tar shard"
        elif path.is_dir():
            kind = "a folder of frames"
        elif not is_video_path(path):
            kind = "none by its name"
        if kind is not None:
            raise ConfigError(f"decoder={decoder} reads video files, but {path} is {kind}; leave decoder at pyav")
    require_torchcodec()


def open_source(
    path: Path,
    entry: str | None,
    protocol: Protocol,
    fps: float | None = None,
    indices: IndexStore | None = None,
    decoder: Decoder = "pyav",
) -> Reader:
    """The frames of a row's file, whatever kind of file it is.

    Args:
        path: the file.
        entry: the address inside a file that holds many.
        protocol: how it is read.
        fps: the rate of a frame folder, where known.
        indices: packet indices of videos, where some are kept; it remembers that of a video whose index it lacks.
        decoder: of a video file; ``check_decoder`` says what torchcodec cannot read.

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
    if path.is_dir():
        if fps is None and protocol.sampling == "dense" and protocol.target_fps is not None:
            raise DataError(
                f"{path}: the protocol samples {protocol.target_fps:g} frames per second, and the rate of this frame "
                "folder is not known; set frame_fps"
            )
        return FrameFolderReader(path, fps)
    if fps is not None:
        raise DataError(f"{path}: fps={fps:g} is for frame folders; a video carries its own times, leave it out")
    video = (path, entry) if entry else path
    index = indices.get(video) if indices else None
    reader: VideoReader
    if is_shard(path):
        reader = ShardVideoReader(path, entry, index)
    else:
        reader = TorchcodecReader(path, index) if decoder == "torchcodec" else VideoReader(path, index)
    if indices and reader.index is not index:
        indices.remember(video, reader.index)
    return reader
