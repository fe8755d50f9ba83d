"""From a decoded frame to red, green and blue planes: swscale crops, scales and turns.

A *window* is the wanted part of every shown frame and its size in pixels. It is cut out first (pointers move, no pixel
is copied), then scaled and converted in one step, bilinear with a support as wide as the reduction, so that nothing
aliases. HDR pictures are mapped to SDR last (``tubelet.data.video.hdr``). Colors go from YUV to RGB by swscale's
defaults (the matrix and range the frame is tagged with, BT.601 where untagged); alpha is dropped; pixel aspect ratios
other than 1 are not undone.

Without scaling the planes equal the picture as ``rgb24``, bit by bit, and a window equals that part of the picture.
With scaling, swscale reads chroma at full resolution: 54.7 dB (PSNR, median over eight 720p clips reduced to 256) from
torchvision's antialiased resize of an accurate conversion, and 45.2 dB from that of the default conversion, which is
about one level darker (``benchmarks/decode.py`` measures both).
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tubelet.data.video.hdr import TRANSFERS, tone_mapped

_DEEP = "gbrp16le"
_PLANES = (2, 0, 1)  # of a gbrp picture: where red, green and blue are
# swscale's fastest conversion to planes leaves the columns beyond the last multiple of 16 unset (seen in FFmpeg 8.1).
# It, like its twin to rgb24, takes every pixel from its own chroma sample: what is cut before or after is the same.
_FAST_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_FAST_COLUMNS = 16
# Formats that swscale misreads where it converts to rgb24 without scaling (FFmpeg 8.1); with the other byte order it
# does not.
_MISREAD_FORMATS = frozenset({"rgb565be", "bgr565be", "rgb555be", "bgr555be"})

Box = tuple[int, int, int, int]  # top, left, height, width, pixels


@dataclass(frozen=True, kw_only=True)
class CropWindow:
    """The wanted part of every shown frame, and the size it is scaled to."""

    box: Box  # of the shown frame
    size: tuple[int, int]  # height, width


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes the shown one: transposed first, then mirrored."""

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """From the frame's display matrix, rounded to a multiple of 90 degrees.

        The matrix sends a pixel to x' = a x + c y, y' = b x + d y.
        """
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if not isinstance(matrix, SideData):
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
        if abs(b) > abs(a):
            return cls(transposed=True, flip_rows=b < 0, flip_columns=c < 0)
        return cls(flip_rows=d < 0, flip_columns=a < 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The shown size of a stored size, and the other way round."""
        return (width, height) if self.transposed else (height, width)

    def shown(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The last two axes turned and mirrored; a view."""
        if self.transposed:
            stored = stored.swapaxes(-1, -2)
        return stored[..., :: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def stored(self, shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The inverse of ``shown``; a view, so that writing to it writes the shown picture."""
        picture = shown[..., :: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return picture.swapaxes(-1, -2) if self.transposed else picture

    def stored_box(self, box: Box, shown: tuple[int, int]) -> Box:
        """Where a box of the shown picture lies in the stored one."""
        top, left, height, width = box
        if self.flip_rows:
            top = shown[0] - top - height
        if self.flip_columns:
            left = shown[1] - left - width
        return (left, top, width, height) if self.transposed else (top, left, height, width)


class Scaler:
    """Writes the window of decoded frames into arrays.

    Args:
        coded_size: height and width of the stream's frames; others are scaled to it.
        window: the wanted part and size. None means whole frames, unscaled.
        tone_map: whether HDR pictures are mapped to SDR, after they are scaled.
    """

    def __init__(self, coded_size: tuple[int, int], window: CropWindow | None, *, tone_map: bool = True) -> None:
        self._coded, self.window, self._tone_map = coded_size, window, tone_map
        self._converters: dict[object, VideoReformatter] = {}  # each keeps the tables of one conversion
        self._crops: dict[object, Graph] = {}

    def size(self, orientation: Orientation) -> tuple[int, int]:
        """Height and width of what ``write`` fills."""
        return self.window.size if self.window else orientation.size(*self._coded)

    def write(self, frame: av.VideoFrame, orientation: Orientation, out: NDArray[np.uint8]) -> None:
        """Fills ``out``, "3 H W" of ``size``, with the window of the frame as shown.

        Raises:
            ValueError: the window is empty or leaves the frame.
        """
        shown = orientation.size(*self._coded)
        window = self.window or CropWindow(box=(0, 0, *shown), size=shown)
        top, left, height, width = window.box
        if min(top, left, height - 1, width - 1) < 0 or top + height > shown[0] or left + width > shown[1]:
            raise ValueError(f"window {window.box} (top, left, height, width) is not inside a frame of {shown}")
        box = orientation.stored_box(window.box, shown)
        target = orientation.stored(out)
        unscaled = target.shape[1:] == box[2:]
        if self._tone_map and int(frame.color_trc) in TRANSFERS:
            self._write_hdr(frame, box, target)
            return
        if (frame.height, frame.width) != self._coded:
            if unscaled:
                self._write_packed(frame, box, target)
                return
            frame = self._converted(frame, self._coded, frame.format.name)
        if unscaled:
            self._write_unscaled(frame, box, target)
        else:
            planar = self._converted(self._part(frame, box), target.shape[1:], "gbrp")
            _copy_planes(planar, (0, 0), target)

    def _write_hdr(self, frame: av.VideoFrame, box: Box, target: NDArray[np.uint8]) -> None:
        """Convert to codes of 16 bits, the whole frame where nothing is scaled, and map those of the box."""
        height, width = target.shape[1:]
        codes, offset = np.empty((3, height, width), dtype=np.uint16), (0, 0)
        if (height, width) == box[2:]:
            planar, offset = self._converted(frame, self._coded, _DEEP), box[:2]
        else:
            if (frame.height, frame.width) != self._coded:
                frame = self._converted(frame, self._coded, frame.format.name)
            planar = self._converted(self._part(frame, box, _DEEP), (height, width), _DEEP)
        _copy_planes(planar, offset, codes)
        target[:] = tone_mapped(codes, int(frame.color_trc), int(frame.color_primaries))

    def _part(self, frame: av.VideoFrame, box: Box, planar: str = "gbrp") -> av.VideoFrame:
        """The box of a frame as a picture: in the frame's format if it can be cut there, else as ``planar``."""
        (top, left, height, width), (rows, columns) = box, _cutting_steps(frame.format)
        above, before = top % rows, left % columns
        if not above and not before:
            return self._cropped(frame, box)
        around = (top - above, left - before, height + above, width + before)
        return self._cropped(
            self._converted(self._cropped(frame, around), around[2:], planar), (above, before, *box[2:])
        )

    def _write_unscaled(self, frame: av.VideoFrame, box: Box, target: NDArray[np.uint8]) -> None:
        """Convert only the box if that gives the same pixels, else the whole frame."""
        top, left, height, width = box
        even = frame.height % 2 == frame.width % 2 == 0
        if frame.format.name not in _FAST_FORMATS or not even or frame.width < _FAST_COLUMNS:
            self._write_packed(frame, box, target)
            return
        y, x = top - top % 2, left - left % 2
        h = top - y + height + (top + height) % 2
        w = -(-(left - x + width) // _FAST_COLUMNS) * _FAST_COLUMNS
        if w > frame.width:  # the columns that a conversion of the whole width sets, then the last ones
            whole = frame.width - frame.width % _FAST_COLUMNS
            planar = self._converted(self._cropped(frame, (y, 0, h, frame.width)), (h, frame.width), "gbrp")
            _copy_planes(planar, (top - y, left), target[..., : whole - left])
            self._write_unscaled(frame, (top, whole, height, left + width - whole), target[..., whole - left :])
            return
        x = min(x, frame.width - w)
        planar = self._converted(self._cropped(frame, (y, x, h, w)), (h, w), "gbrp")
        _copy_planes(planar, (top - y, left - x), target)

    def _write_packed(self, frame: av.VideoFrame, box: Box, target: NDArray[np.uint8]) -> None:
        """Convert the whole frame to rgb24 and cut the box out of it, which is right for any format and size."""
        top, left, height, width = box
        if frame.format.name in _MISREAD_FORMATS:
            frame = self._converted(frame, self._coded, f"{frame.format.name.removesuffix('be')}le")
        rgb = self._converted(frame, self._coded, "rgb24").to_ndarray()
        target[:] = rgb[top : top + height, left : left + width].transpose(2, 0, 1)

    def _converted(self, frame: av.VideoFrame, size: tuple[int, ...], pixel_format: str) -> av.VideoFrame:
        key = (size, pixel_format, frame.height, frame.width, frame.format.name)
        converter = self._converters.setdefault(key, VideoReformatter())
        return converter.reformat(frame, width=size[1], height=size[0], format=pixel_format, threads=1)

    def _cropped(self, frame: av.VideoFrame, box: Box) -> av.VideoFrame:
        if box == (0, 0, frame.height, frame.width):
            return frame
        key = (box, frame.height, frame.width, frame.format.name, frame.colorspace, frame.color_range)
        graph = self._crops.get(key)
        if graph is None:
            graph = self._crops[key] = _crop_graph(frame, box)
        graph.vpush(frame)
        return graph.vpull()


def _cutting_steps(pixel_format: av.VideoFormat) -> tuple[int, int]:
    """The rows and columns of which a pointer may skip multiples, or chroma is misread.

    A pointer of a plane with one byte per sample may skip half a chroma sample: it rounds down, and colors move by half
    the distance of two samples. In samples of two bytes it would stop between the bytes, in interleaved ones between
    the two colors.
    """
    if pixel_format.name.startswith("bayer"):
        return 2, 2
    steps = 8 // pixel_format.chroma_height(8), 8 // pixel_format.chroma_width(8)
    chroma = [component for component in pixel_format.components if component.is_chroma]
    alone = len({component.plane for component in pixel_format.components}) == len(pixel_format.components)
    single_bytes = alone and all(component.bits <= 8 for component in chroma)
    return (1, 1) if single_bytes and max(steps) <= 2 else steps


def _copy_planes(
    planar: av.VideoFrame, offset: tuple[int, int], target: NDArray[np.uint8] | NDArray[np.uint16]
) -> None:
    """Red, green and blue of a gbrp or gbrp16le picture, from ``offset`` on; its lines are padded."""
    rows = slice(offset[0], offset[0] + target.shape[1])
    columns = slice(offset[1], offset[1] + target.shape[2])
    for channel, number in enumerate(_PLANES):
        plane = planar.planes[number]
        target[channel] = np.frombuffer(plane, dtype=target.dtype).reshape(plane.height, -1)[rows, columns]


def _crop_graph(frame: av.VideoFrame, box: Box) -> Graph:
    """A filter that cuts a box out of frames like this one by moving pointers."""
    top, left, height, width = box
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
        f":colorspace={frame.colorspace}:range={frame.color_range}",
    )
    crop = graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1")
    sink = graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure(auto_buffer=False)
    return graph
