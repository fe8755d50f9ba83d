"""Interlaced video shows pictures without combs, each the same whatever else is read, and says so."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode import transcode
from tubelet.data.sources.open_source import open_source
from tubelet.data.video.deinterlace import deinterlaced
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.protocol import Protocol

FRAMES, HEIGHT, WIDTH = 14, 48, 64
FILES = {
    "h264.mp4": ("libx264", "yuv420p", {"flags": "+ildct+ilme", "x264-params": "tff=1"}),
    "bottom_first.mkv": ("libx264", "yuv420p", {"flags": "+ildct+ilme", "x264-params": "bff=1"}),
    "dvd.mpg": ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme", "b": "3M"}),
    "camera.mov": ("prores_ks", "yuv422p10le", {"flags": "+ildct"}),
}
COMBS = "interlaced, moving edges have combs (protocol.interlaced=as_stored)"
UPPER = "interlaced, pictures are made of the upper field (protocol.interlaced=deinterlace)"


def field_at(moment: int) -> NDArray[np.uint8]:
    """A bright bar that moves to the right on a dark ground."""
    picture = np.full((HEIGHT, WIDTH, 3), 40, dtype=np.uint8)
    picture[:, 4 + 2 * moment % 40 :][:, :16] = 210
    return picture


def write_interlaced(path: Path, codec: str, pixel_format: str, options: dict[str, str]) -> Path:
    """Frames whose even lines show a moment and odd lines the next one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixel_format
        for i in range(FRAMES):
            woven = field_at(2 * i)
            woven[1::2] = field_at(2 * i + 1)[1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(woven, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def combs(picture: NDArray[np.uint8]) -> float:
    """The share of pixels that differ from the lines above and below in the same direction."""
    lines = picture.astype(int).mean(0)
    return float(((lines[1:-1] - lines[:-2]) * (lines[1:-1] - lines[2:]) > 900).mean())


@pytest.mark.parametrize("file", FILES)
def test_flagged_frames_have_no_combs_and_show_the_upper_field(tmp_path: Path, file: str) -> None:
    path = write_interlaced(tmp_path / file, *FILES[file])
    with open_source(path, None, Protocol()) as reader:
        whole = reader.frames_at(range(len(reader.timestamps))).pixels.numpy()
        assert reader.notes == (UPPER,)
    assert max(map(combs, whole)) == 0
    assert abs(whole[3].astype(int) - field_at(6).transpose(2, 0, 1))[:, :, ::8].mean() < 6
    for index in (0, 7, len(whole) - 1, 3):
        with VideoReader(path) as reader:
            np.testing.assert_array_equal(reader.frames_at([index]).pixels[0].numpy(), whole[index])
    with VideoReader(path) as reader:
        for index, picture in reader.frames_in_order([2, 5]):
            np.testing.assert_array_equal(picture, whole[index])
    with open_source(path, None, Protocol(interlaced="as_stored")) as reader:
        assert combs(reader.frames_at([3]).pixels[0].numpy()) > 0.02
        assert reader.notes == (COMBS,)


def test_the_order_of_the_stream_counts_where_a_codec_flags_no_frames(tmp_path: Path) -> None:
    codec = ("ffv1", "yuv420p", {"field_order": "tt"})
    path = write_interlaced(tmp_path / "capture.mkv", *codec)
    with VideoReader(path) as reader:
        assert reader.info.is_interlaced
        assert combs(reader.frames_at([3]).pixels[0].numpy()) == 0
        assert reader.notes == (UPPER,)


def test_a_prepared_copy_of_interlaced_video_has_no_combs(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "dvd.mpg", *FILES["dvd.mpg"])
    transcode(path, tmp_path / "copy.mp4", Encoding(short_side=32, crf=4, preset="ultrafast"))
    with VideoReader(tmp_path / "copy.mp4") as reader:
        pictures = reader.frames_at([2, 5]).pixels.numpy()
    assert max(map(combs, pictures)) == 0


def test_progressive_video_is_left_alone(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "woven.mp4", "libx264", "yuv420p", {})
    with VideoReader(path) as new, VideoReader(path, rendering=Rendering(interlaced="as_stored")) as old:
        assert new.frames_at([3]).pixels.equal(old.frames_at([3]).pixels)
        assert new.notes == ()


@pytest.mark.parametrize(
    "pixel_format",
    [
        "yuv420p",
        "nv12",
        "p010le",
        "yuyv422",
        "yuv444p10le",
        "gray",
        "gray16be",
        "rgb24",
        "yuv422p16be",
        "monob",
        "bgr0",
    ],
)
@pytest.mark.parametrize("height", [48, 50])
def test_even_lines_stay_and_odd_ones_are_means_in_every_kind_of_format(pixel_format: str, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
    before, after = (f.reformat(format="gray").to_ndarray().astype(int) for f in (frame, deinterlaced(frame)))
    np.testing.assert_array_equal(after[::2], before[::2])
    assert abs(after[1:-1:2] - (before[:-2:2] + before[2::2]) / 2).max() <= 2
    assert abs(after[-1] - before[-2]).max() <= 1  # swscale dithers deep formats
