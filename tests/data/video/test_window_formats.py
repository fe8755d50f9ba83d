"""A window of a frame equals that part of the whole frame, in every pixel format and from every edge."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.format import names
from av.video.reformatter import VideoReformatter

from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import CropWindow, Orientation, Scaler

HEIGHT, WIDTH = 64, 96
BOXES = [(top, left, 44, 57) for top, left in itertools.product(range(4), repeat=2)]
SMALLER = (22, 30)
RESIZER = VideoReformatter()
MANY_FORMATS = 110  # of those that swscale writes; FFmpeg 8.1 has more
BAYER = {"bggr": (2, 1, 1, 0), "rggb": (0, 1, 1, 2), "gbrg": (1, 2, 0, 1), "grbg": (1, 0, 2, 1)}


@functools.cache
def picture(index: int = 0) -> np.ndarray:
    """Slopes of another color in every direction, "H W 3": rounded chroma stays near, misread chroma does not."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [40 + 1.6 * x, 200 - 2.2 * y - 6 * index, 60 + 0.7 * x + y + 3 * index]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def frame_of(name: str) -> av.VideoFrame | None:
    """The picture in a pixel format. None if neither swscale nor this test can write it."""
    if name == "pal8":
        gray = picture()[..., 0]
        return av.VideoFrame.from_ndarray((gray, np.full((256, 4), 255, np.uint8)), format="pal8")
    if name.startswith("bayer_") and name.endswith("8"):
        pixels = picture()
        mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
        for number, channel in enumerate(BAYER[name[6:10]]):
            mosaic[number // 2 :: 2, number % 2 :: 2] = pixels[number // 2 :: 2, number % 2 :: 2, channel]
        return av.VideoFrame.from_ndarray(mosaic, format=name)
    try:
        frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format=name)
        frame.reformat(format="rgb24")
    except (OSError, ValueError):
        return None
    return frame


# Without formats that differ from another in their byte order only, save those that swscale misreads.
TRIED = [name for name in sorted(names) if not name.endswith("be") or "5" in name]
FRAMES = {name: frame for name in TRIED if (frame := frame_of(name)) is not None}


def write(scaler: Scaler, frame: av.VideoFrame, window: CropWindow | None) -> np.ndarray:
    scaler.window = window
    out = np.empty((3, *scaler.size(Orientation())), np.uint8)
    scaler.write(frame, Orientation(), out)
    return out


def scaled(whole: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """A box of an RGB picture, "3 H W", at ``SMALLER``."""
    top, left, height, width = box
    part = np.ascontiguousarray(whole[:, top : top + height, left : left + width].transpose(1, 2, 0))
    frame = av.VideoFrame.from_ndarray(part, format="rgb24")
    planar = RESIZER.reformat(frame, width=SMALLER[1], height=SMALLER[0], format="rgb24")
    return planar.to_ndarray().transpose(2, 0, 1)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of the color that differs most, in levels."""
    return float(np.abs(one.astype(int) - other).mean((1, 2)).max())


def test_many_formats_are_tried() -> None:
    assert len(FRAMES) >= MANY_FORMATS
    assert {"nv12", "p010le", "yuv420p10le", "yuv422p10le", "y210le", "pal8", "bayer_bggr8", "gray16le"} <= set(FRAMES)


@pytest.mark.parametrize("name", FRAMES)
def test_a_window_from_any_edge_is_that_part_of_the_whole_frame(name: str) -> None:
    frame, scaler = FRAMES[name], Scaler((HEIGHT, WIDTH), None)
    whole = write(scaler, frame, None)
    few = 3 + distance(write(scaler, frame, CropWindow(box=BOXES[0], size=SMALLER)), scaled(whole, BOXES[0]))
    for box in BOXES:
        top, left, height, width = box
        same_size = write(scaler, frame, CropWindow(box=box, size=(height, width)))
        assert np.array_equal(same_size, whole[:, top : top + height, left : left + width]), box
        assert distance(write(scaler, frame, CropWindow(box=box, size=SMALLER)), scaled(whole, box)) <= few, box


@pytest.mark.parametrize("name", sorted(set(FRAMES) - {"pal8"}))
def test_a_whole_frame_shows_what_was_written(name: str) -> None:
    """Up to the bits of the format: a color of one bit is dithered."""
    format_ = av.VideoFormat(name)
    if name.startswith(("gray", "mono", "ya")) or min(component.bits for component in format_.components) < 4:
        return
    edge = 8 if name.startswith("bayer") else 0  # swscale copies colors of the first rows and columns
    whole = write(Scaler((HEIGHT, WIDTH), None), FRAMES[name], None)
    assert distance(whole[:, edge:, edge:], picture().transpose(2, 0, 1)[:, edge:, edge:]) < 7


CODED = {
    "h264_10.mp4": ("libx264", "yuv420p10le"),
    "h264_422_10.mp4": ("libx264", "yuv422p10le"),
    "hevc_main10.mp4": ("libx265", "yuv420p10le"),
    "av1_10.mkv": ("libsvtav1", "yuv420p10le"),
    "prores.mov": ("prores_ks", "yuv422p10le"),
    "nv12.avi": ("rawvideo", "nv12"),
}


@pytest.mark.parametrize("name", CODED)
def test_a_window_of_a_decoded_frame_is_that_part_of_it(name: str, tmp_path: Path) -> None:
    codec, pixel_format = CODED[name]
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixel_format
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / name) as reader:
        whole = reader.frames_at([2]).pixels.numpy()[0]
        assert distance(whole, picture(2).transpose(2, 0, 1)) < 7
        for box in BOXES:
            part = reader.frames_at([2], CropWindow(box=box, size=SMALLER)).pixels.numpy()[0]
            assert distance(part, scaled(whole, box)) < 4, box
