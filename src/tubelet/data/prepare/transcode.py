"""Transcodes one video into a file that decodes fast: every shown frame, upright, small, at its time, without sound.

Settings of x264: ``-preset medium -tune fastdecode -g 16 -bf 1 -x264-params b-adapt=0:b-pyramid=none:scenecut=0``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8

from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.growing_file import GrowingFile, copied
from tubelet.data.video.container import ByteRange, VideoContainer, file_error, reporting
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.rendering import BY_DEFAULT
from tubelet.data.video.scaling import Orientation
from tubelet.files import written_atomically

_TICKS = Fraction(1, 90000)  # seconds; broadcast's clock, in which the usual frame rates are whole
_UNSPECIFIED = 2  # FFmpeg's number for unspecified colors
_FINEST_TICKS = 1_000_000  # per second; a finer or odd clock is replaced by the one above


def transcode(
    source: Path,
    target: Path,
    encoding: Encoding,
    on_index: Callable[[PacketIndex], None] = lambda index: None,
    *,
    part: ByteRange | None = None,
    growing: Path | None = None,
) -> int:
    """Write ``target`` (MP4) atomically. Returns its number of frames.

    Args:
        source: the video.
        target: the copy.
        encoding: settings.
        on_index: called with the index of the source before its frames are decoded.
        part: the bytes of the source that hold the video, such as those of a shard's member. None means all of them.
        growing: a file that grows meanwhile, in fragments which players read before it is whole. None means no such
            file. An encoding with B-frames would shift its times.

    Raises:
        VideoError: the source cannot be read, or a frame of it is damaged.
    """
    index = PacketIndex.of(source, part)
    on_index(index)
    ticks, time_base = _ticks(index)
    pictures = _Pictures(index.codec.height, index.codec.width, encoding.short_side)
    timed = zip(_frames(source, index, part), ticks.tolist(), strict=True)
    _encode(target, ((*frame, tick) for frame, tick in timed), pictures, time_base, index.fps, encoding, growing)
    return index.num_frames


def encode_pictures(
    target: Path,
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]],
    seconds: Float[np.ndarray, " N"],
    size: tuple[int, int],
    fps: float,
    encoding: Encoding,
) -> None:
    """Write an MP4 of RGB pictures atomically.

    Args:
        pictures: N of them, at least one.
        seconds: when each is shown, ascending from 0.
        size: height and width of all of them.
        fps: about how many there are in a second.
        encoding: settings.
    """
    ticks = np.rint(seconds / float(_TICKS)).astype(np.int64).tolist()
    rgb = (av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24") for picture in pictures)
    frames = ((frame, frame, tick) for frame, tick in zip(rgb, ticks, strict=True))
    _encode(target, frames, _Pictures(*size, encoding.short_side), _TICKS, fps, encoding)


def _encode(
    target: Path,
    frames: Iterable[tuple[av.VideoFrame, av.VideoFrame, int]],
    pictures: _Pictures,
    time_base: Fraction,
    fps: float,
    encoding: Encoding,
    growing: Path | None = None,
) -> None:
    """Write an MP4 atomically.

    Args:
        frames: at least one: a frame as its source has it, whose tags the copy gets, the same deinterlaced, and when
            it is shown, in ticks.
        pictures: makes of each what the encoder takes.
        time_base: seconds of a tick.
        fps: about how many there are in a second.
        encoding: settings.
        growing: as in ``transcode``.
    """
    with ExitStack() as stack:
        container = stack.enter_context(
            av.open(str(stack.enter_context(written_atomically(target))), "w", format="mp4")
        )
        stream = None
        copy = None if growing is None else stack.enter_context(GrowingFile(growing))
        for frame, whole, tick in frames:
            picture = pictures.of(whole, Orientation.of(frame))
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options=encoding.options)
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
                stream.codec_context.time_base = time_base
                _tag_colors(stream.codec_context, frame)
            picture.pts, picture.time_base = tick, time_base
            _mux(stream, picture, container, copy)
        assert stream is not None  # there is at least one frame
        _mux(stream, None, container, copy)


def _mux(
    stream: VideoStream, picture: av.VideoFrame | None, container: OutputContainer, copy: GrowingFile | None
) -> None:
    """Encode a picture, or with None what the encoder still holds."""
    packets = stream.encode(picture)
    copies = [] if copy is None else list(map(copied, packets))
    container.mux(packets)  # first, for it fills in what the other file begins with
    if copy is not None:
        copy.write(copies, stream)


def _ticks(index: PacketIndex) -> tuple[np.ndarray, Fraction]:
    """The time of each frame in whole ticks from 0, and the length of a tick."""
    base, times = index.time_base, np.unique(index.pts)
    usual = base is not None and base.numerator == 1 and base.denominator <= _FINEST_TICKS
    if base is not None and usual and len(times) == index.num_frames:
        return times - times[0], base
    return np.rint(index.timestamps / float(_TICKS)).astype(np.int64), _TICKS


def _frames(source: Path, index: PacketIndex, part: ByteRange | None) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    """Yield all shown frames, each also deinterlaced. Raises VideoError if one is damaged or missing.

    Scaling would mix the two fields of an interlaced frame, and no reader could part them again.
    """
    container, count, used = VideoContainer(source, part), 0, set(index.rows.tolist())
    try:
        with reporting(source, "decode"):
            for frame, damaged in container.decode_from(index.packets, 0):
                if count == index.num_frames or (used and frame.pts not in used):
                    continue  # of a packet that the file ends in, or that is not shown
                if damaged:
                    raise file_error(source, f"the file is damaged at or before frame {count}")
                order = int(container.stream.codec_context.field_order)
                yield frame, BY_DEFAULT.whole(frame, index.codec.name, order)
                count += 1
        if count < index.num_frames:
            raise file_error(source, f"the file is damaged: {count} of {index.num_frames} frames decode")
    finally:
        container.close()
    if count != index.num_frames:
        raise file_error(source, f"the file is damaged: {count} of {index.num_frames} frames decode")


class _Pictures:
    """Frames of a size as the encoder takes them: upright, small, 4:2:0 with 8 bits."""

    def __init__(self, height: int, width: int, short_side: int) -> None:
        factor = min(1.0, short_side / min(height, width))
        self._size = max(2, 2 * round(height * factor / 2)), max(2, 2 * round(width * factor / 2))  # as stored
        self._scaler = VideoReformatter()

    def of(self, frame: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
        """The picture of one frame."""
        small = self._scaler.reformat(
            frame,
            width=self._size[1],
            height=self._size[0],
            format="yuv420p",
            interpolation=Interpolation.BICUBIC,
            dst_color_range=_kept_range(frame),
            threads=1,
        )
        return small if orientation == Orientation() else _turned(small, orientation)


def _turned(picture: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    height, width = orientation.size(picture.height, picture.width)
    turned = av.VideoFrame(width, height, "yuv420p")
    for source, target in zip(picture.planes, turned.planes, strict=True):
        pixels = np.frombuffer(source, dtype=np.uint8).reshape(-1, source.line_size)
        lines = np.zeros((target.buffer_size // target.line_size, target.line_size), dtype=np.uint8)
        lines[: target.height, : target.width] = orientation.shown(pixels[: source.height, : source.width])
        target.update(lines.tobytes())
    return turned


def _kept_range(frame: av.VideoFrame) -> ColorRange:
    """The range of the copy's values: that of the source. RGB, which has none, becomes the usual limited one."""
    is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return ColorRange.JPEG if is_full and not frame.format.is_rgb else ColorRange.MPEG


def _tag_colors(context: VideoCodecContext, frame: av.VideoFrame) -> None:
    """Copy the color tags, so that the copy is converted to RGB as the source is."""
    context.color_range, context.color_primaries = _kept_range(frame), frame.color_primaries
    context.color_trc = frame.color_trc
    context.colorspace = _UNSPECIFIED if frame.format.is_rgb else frame.colorspace
