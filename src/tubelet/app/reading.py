"""What processes read of films for the page: when each frame appears, and still frames.

N frames of the film
"""

from __future__ import annotations

import dataclasses
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.sources.volume import is_volume
from tubelet.data.video.container import VideoContainer
from tubelet.data.video.info import VideoInfo
from tubelet.data.video.reader import VideoReader
from tubelet.protocol import Protocol

STILL_PIXELS = 960  # of the longer side
_OPEN_READERS = 4  # that a process keeps
_QUALITY = 85
_SECONDS_PER_MEGABYTE = 1.0  # of the file, that opening it may take
# What browsers play: containers by FFmpeg's names, codecs with the pixel formats that they decode.
_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
_CODECS = {
    "h264": {"yuv420p", "yuvj420p"},
    "vp8": {"yuv420p"},
    "vp9": {"yuv420p"},
    "libdav1d": {"yuv420p"},
    "av1": {"yuv420p"},
}


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How films are opened to be looked at by people."""

    frame_fps: float | None = None  # frames per second of frame folders; None means one
    volumes: Protocol = field(default_factory=Protocol)  # whose window and axis show volumes

    @classmethod
    def of(cls, frame_fps: float | None, protocols: Sequence[Protocol]) -> Opening:
        """As the first model sees volumes that says which of their values it sees."""
        said = next((p for p in protocols if p.volume_window is not None), Protocol())
        keys = ("volume_window", "slicing_axis", "slicing_backward")
        volumes = dataclasses.replace(Protocol(), **{key: getattr(said, key) for key in keys})
        return cls(frame_fps=frame_fps, volumes=volumes)

    def open(self, path: Path) -> Reader:
        """Open a film. Raises DataError."""
        fps = self.frame_fps if path.is_dir() else None
        return open_source(path, None, self.volumes if is_volume(path) else Protocol(), fps)


@dataclass(frozen=True)
class StillRequest:
    """What a process is asked for: a still frame, or what is known of the film where ``frame`` is None."""

    path: Path
    frame: int | None = None


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a film without a model."""

    timestamps: Float[np.ndarray, " N"]  # seconds at which every frame appears
    duration_seconds: float
    fps: float
    width: int
    height: int
    codec: str
    plays: bool  # whether browsers show every frame of the file itself, at these times
    notes: tuple[str, ...]


class FilmReader:
    """Reads films for the page; a ``RowProcessor``."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._readers: OrderedDict[tuple[Path, int, int], Reader] = OrderedDict()

    def name(self, row: StillRequest) -> str:
        """The film in messages."""
        return row.path.name

    def run(self, row: StillRequest, allow: Callable[[float], None]) -> About | bytes:
        """What was asked for. Raises DataError."""
        if row.path == Path():  # only that the process starts
            return b""
        allow(60 + _SECONDS_PER_MEGABYTE * row.path.stat().st_size / 1e6)
        with naming_file(row.path, row.path.name):
            reader = self._reader(row.path)
            if row.frame is None:
                return _about(reader)
            return _still(reader, row.frame)

    def _reader(self, path: Path) -> Reader:
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._readers:
            self._readers[key] = self._opening.open(path)
        self._readers.move_to_end(key)
        while len(self._readers) > _OPEN_READERS:
            _close(self._readers.popitem(last=False)[1])
        return self._readers[key]


def _close(reader: Reader) -> None:
    if isinstance(reader, VideoReader):
        reader.close()


def _about(reader: Reader) -> About:
    info = reader.info
    return About(
        timestamps=reader.timestamps,
        duration_seconds=reader.duration_seconds,
        fps=reader.fps,
        width=info.width,
        height=info.height,
        codec=info.codec,
        plays=isinstance(reader, VideoReader) and _plays(reader, info),
        notes=tuple(reader.notes),
    )


def _plays(reader: VideoReader, info: VideoInfo) -> bool:
    """Only where the browser's times are ours: the first frame at 0, no interlaced or odd ones."""
    container = VideoContainer(reader.path)
    try:
        known = bool(container.format_names & _CONTAINERS) and container.num_videos == 1
    finally:
        container.close()
    return (
        known
        and info.pixel_format in _CODECS.get(info.codec, set())
        and not info.is_interlaced
        and not info.is_mirrored
        and int(reader.index.pts[0]) == 0
        and info.color.transfer not in ("pq", "hlg")
    )


def _still(reader: Reader, frame: int) -> bytes:
    pixels = reader.frames_at([min(frame, len(reader.timestamps) - 1)]).pixels[0]  # C H W
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((STILL_PIXELS, STILL_PIXELS))
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=_QUALITY)
    return content.getvalue()
