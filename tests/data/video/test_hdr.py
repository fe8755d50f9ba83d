"""HDR pictures show the colors of the SDR ones that they were made from, and say so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tubelet.data.sources.open_source import open_source
from tubelet.data.video.hdr import bt2390, pq_code, pq_nits
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.data.video.scaling import CropWindow
from tubelet.protocol import Protocol

BARS = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (20, 20, 20), (150, 150, 150)])
TRANSFERS = {"PQ": 16, "HLG": 18}
TO_BT2020 = np.array([(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)])
# One thread: with its pool x265 writes now and then (about once in 400 files this small) a stream no muxer takes.
SHARP = {"libx264": {"crf": "6"}, "libx265": {"crf": "6", "x265-params": "log-level=none:pools=none:frame-threads=1"}}
TOLERANCE = 10  # levels of 8 bits


def codes(transfer: str) -> NDArray[np.float64]:
    """The bars in BT.2020, whose white is 203 nits, as HDR codes from 0 to 1. Formulas of ST 2084 and ARIB STD-B67."""
    light = (BARS / 255) ** 2.4 @ TO_BT2020.T
    if transfer == "PQ":
        power = (203 * light / 10000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    scene = light * 0.26496  # what a code of 75 % stands for
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def write_bars(path: Path, transfer: str, codec: str, pixel_format: str) -> Path:
    """Two frames of vertical bars, 16 pixels wide."""
    row = np.repeat(codes(transfer), 16, axis=0)
    picture = np.rint(np.broadcast_to(row, (48, *row.shape)) * 65535).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=SHARP.get(codec, {}))
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = (
            9,
            TRANSFERS[transfer],
            9,
            1,
        )
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le")
            frame = frame.reformat(format=pixel_format, dst_colorspace=9, dst_color_range=1)
            frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = 9, TRANSFERS[transfer], 9, 1
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bars_of(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean color of each bar of "3 H W", without its edges."""
    return np.stack([picture[:, 4:-4, 16 * bar + 4 : 16 * bar + 12].mean((1, 2)) for bar in range(len(BARS))])


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize(
    ("file", "codec", "pixel_format"),
    [
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mkv", "libx264", "yuv422p10le"),
        ("a.mov", "libx265", "yuv420p10le"),
        ("b.mkv", "ffv1", "yuv444p12le"),
    ],
)
def test_bars_have_the_colors_of_the_sdr_ones(
    tmp_path: Path, transfer: str, file: str, codec: str, pixel_format: str
) -> None:
    path = write_bars(tmp_path / file, transfer, codec, pixel_format)
    with open_source(path, None, Protocol()) as reader:
        assert reader.notes == ()
        picture = reader.frames_at([1]).pixels[0].numpy()
        assert abs(bars_of(picture) - BARS).max() <= TOLERANCE
        assert reader.notes == (f"HDR ({transfer}), mapped to SDR (protocol.hdr=tone_map)",)
    with open_source(path, None, Protocol(hdr="as_stored")) as reader:
        flat = bars_of(reader.frames_at([1]).pixels[0].numpy())
        assert abs(flat - BARS).max() > 40
        assert reader.notes == (f"HDR ({transfer}), read as SDR, which makes colors flat (protocol.hdr=as_stored)",)
        assert abs(flat - 255 * codes(transfer)).max() < 4  # as versions up to 0.1.0 read them


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("edge", [0, 1, 2, 3])
def test_a_window_equals_the_same_part_of_the_whole_picture(tmp_path: Path, pixel_format: str, edge: int) -> None:
    path = write_bars(tmp_path / "a.mkv", "PQ", "ffv1", pixel_format)
    with VideoReader(path) as reader:
        whole = reader.frames_at([0]).pixels[0].numpy()
        part = reader.frames_at([0], CropWindow(box=(edge, edge, 40, 80), size=(40, 80))).pixels[0].numpy()
        np.testing.assert_array_equal(part, whole[:, edge : edge + 40, edge : edge + 80])
        half = reader.frames_at([0], CropWindow(box=(edge, 16 + edge, 40, 64), size=(20, 32))).pixels[0].numpy()
    middles = half[:, 5:15, [4 - edge // 2 + 8 * bar for bar in range(4)]].mean(1).T
    assert abs(middles - BARS[1:5]).max() <= TOLERANCE


def test_sdr_video_is_read_alike_and_without_a_note(tmp_path: Path) -> None:
    path = tmp_path / "sdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 90, dtype=np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(path) as new, VideoReader(path, rendering=Rendering(hdr="as_stored")) as old:
        assert new.frames_at([0]).pixels.equal(old.frames_at([0]).pixels)
        assert new.notes == old.notes == ()


def test_the_curve_leaves_what_is_dark_rises_and_ends_at_reference_white() -> None:
    nits = np.linspace(0, 1000, 2001)
    mapped = bt2390(nits)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(mapped[nits < 85], nits[nits < 85], rtol=1e-6)
    assert mapped[-1] == pytest.approx(203)
    assert bt2390(np.array([4000.0]))[0] == pytest.approx(203)
    np.testing.assert_allclose(pq_nits(pq_code(nits)), nits, rtol=1e-9, atol=1e-9)
    assert pq_code(np.array([100.0]))[0] == pytest.approx(0.508, abs=5e-4)  # ST 2084: 100 nits have code 0.508
