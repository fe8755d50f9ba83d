"""Makes of a frame folder what ``transcode`` makes of a video: every picture at its time, upright and small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode import encode_pictures
from tubelet.data.sources.deep_picture import deep_codec
from tubelet.data.sources.frame_folder import FrameFolderReader, frame_files
from tubelet.errors import VideoError, reason


def transcode_folder(
    folder: Path,
    fps: float,
    target: Path,
    encoding: Encoding,
    on_size: Callable[[int, int, int], None] = lambda count, height, width: None,
) -> int:
    """Write ``target`` (MP4) atomically. Returns its number of frames.

    Args:
        folder: the pictures.
        fps: frames per second of their numbers.
        on_size: called with the number of pictures, their height and their width before all of them are decoded.

    Raises:
        VideoError: as ``FrameFolderReader``, or pictures of 16 bits, of which an H.264 file would keep eight.
    """
    for _, name in frame_files(folder):
        if _is_deep(folder / name):
            raise VideoError(f"{folder / name}: has 16 bits, which no H.264 file keeps; train on the pictures")
    with FrameFolderReader(folder, fps) as reader:
        count = len(reader.timestamps)
        on_size(count, reader.height, reader.width)
        pictures = (picture.transpose(1, 2, 0) for _, picture in reader.frames_in_order(range(count)))
        encode_pictures(target, pictures, reader.timestamps, (reader.height, reader.width), fps, encoding)
    return count


def _is_deep(picture: Path) -> bool:
    try:
        return deep_codec(picture) is not None
    except (OSError, ValueError) as error:
        raise VideoError(f"{picture}: cannot be decoded as a picture ({reason(error)}); replace the file") from None
