"""``tubelet.open_video``: one reader for videos, frame folders and volumes, with exact frames and clear errors."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import tubelet
from support import assert_one_line
from tubelet.data.video.info import ColorInfo, rotation_of
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import Orientation
from tubelet.errors import DataError, VideoError
from tubelet.protocol import Protocol

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
TICKS = [0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 40, 41]  # of the frames of ``variable``, in tenths of a second


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of variable rate with B-frames, 12 frames in 4.1 s."""
    path = tmp_path_factory.mktemp("video") / "variable.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": "keyint=5:bframes=2:scenecut=0"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index, tick in enumerate(TICKS):
            pixels = np.full((32, 48, 3), 20 * index, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = tick
            frame.time_base = Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def sources(variable: Path) -> dict[str, Path]:
    """The same picture ramp as a video, as a frame folder and as a volume."""
    folder, volume = variable.with_name("frames"), variable.with_name("volume.npy")
    folder.mkdir()
    for index in range(12):
        Image.new("RGB", (48, 32), (20 * index,) * 3).save(folder / f"img_{index:05d}.png")
    np.save(volume, np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 32 * 48).reshape(12, 32, 48))
    return {"video": variable, "folder": folder, "volume": volume}


@pytest.mark.parametrize("kind", ["video", "folder", "volume"])
def test_a_frame_is_the_same_alone_beside_others_by_time_and_in_a_pass(sources: dict[str, Path], kind: str) -> None:
    with tubelet.open_video(sources[kind]) as video:
        assert (len(video), video.num_frames) == (12, 12)
        in_a_pass = list(video)
        assert torch.equal(torch.cat([frame.pixels for frame in in_a_pass]), video.frames_at(range(12)).pixels)
        assert [frame.seconds[0] for frame in in_a_pass] == video.timestamps.tolist()
        for index in (11, 3, 7):
            (alone,) = video.frames_at([index]).pixels
            assert alone.dtype == torch.uint8
            assert abs(int(alone.float().mean()) - 20 * index) <= 2
            assert torch.equal(alone, in_a_pass[index].pixels[0])
            assert torch.equal(alone, video.frames_at_seconds([video.timestamps[index]]).pixels[0])
            assert torch.equal(alone, video.frames_at(np.array([0, index, 0])).pixels[1])


def test_a_time_gives_the_frame_on_screen_then(variable: Path) -> None:
    with tubelet.open_video(variable) as video:
        times = np.random.default_rng(0).uniform(0, video.seconds, size=40)
        for time, shown in zip(times, video.frames_at_seconds(times).seconds, strict=True):
            assert shown <= time
            assert not ((video.timestamps > shown) & (video.timestamps <= time)).any()


def test_frames_may_be_asked_for_while_others_are_iterated(variable: Path) -> None:
    with tubelet.open_video(variable) as video:
        expected = video.frames_at(range(12)).pixels
        for index, frame in enumerate(video):
            assert torch.equal(frame.pixels[0], expected[index])
            assert torch.equal(video.frames_at([11 - index]).pixels[0], expected[11 - index])
        pairs = list(zip(video, video, strict=True))
    assert all(torch.equal(one.pixels, other.pixels) for one, other in pairs)


def test_the_public_reader_is_the_one_that_everything_inside_uses(variable: Path) -> None:
    with tubelet.open_video(str(variable)) as video, VideoReader(variable) as reader:
        assert torch.equal(video.frames_at([9, 2]).pixels, reader.frames_at([9, 2]).pixels)
        assert video.seconds == reader.duration_seconds


@pytest.mark.parametrize("asked", [[12], [-1], [], [0.5], [[1]], ["1"], [True]])
@pytest.mark.parametrize("kind", ["video", "folder", "volume"])
def test_an_index_that_no_frame_has_is_an_error_of_one_line(sources: dict[str, Path], kind: str, asked: object) -> None:
    with tubelet.open_video(sources[kind]) as video, pytest.raises(VideoError) as caught:
        video.frames_at(asked)  # type: ignore[arg-type]
    assert_one_line(caught, str(sources[kind]), "frame")


@pytest.mark.parametrize("asked", [[4.5], [-0.1], [float("nan")], [], ["1"]])
def test_a_time_outside_the_video_is_an_error_of_one_line(variable: Path, asked: list[float]) -> None:
    with tubelet.open_video(variable) as video, pytest.raises(VideoError) as caught:
        video.frames_at_seconds(asked)
    assert_one_line(caught, str(variable), "times")


@pytest.mark.parametrize(("name", "part"), [("missing.mp4", "no such file"), ("text.mp4", "expected a video")])
def test_what_is_no_video_is_an_error_of_one_line(tmp_path: Path, name: str, part: str) -> None:
    (tmp_path / "text.mp4").write_text("shopping list\n" * 20)
    with pytest.raises(DataError) as caught:
        tubelet.open_video(tmp_path / name)
    assert_one_line(caught, name, part)


def test_info_tells_codec_depth_colors_rotation_and_rate(variable: Path) -> None:
    with tubelet.open_video(variable) as video:
        info = video.info
    assert (info.codec, info.pixel_format, info.bit_depth) == ("h264", "yuv420p", 8)
    assert (info.height, info.width, info.rotation, info.is_mirrored) == (32, 48, 0, False)
    assert info.fps == pytest.approx(11 / 4.1)
    assert not info.is_interlaced
    with pytest.raises(FrozenInstanceError):
        info.codec = "vp9"  # type: ignore[misc]
    with tubelet.open_video(CLIPS / "rotation_90.mov") as video:
        assert video.info.rotation in (90, 270)
        assert video.frames_at([0]).pixels.shape[2:] == (video.info.height, video.info.width)
    with tubelet.open_video(CLIPS / "h264_10bits.mp4") as video:
        assert video.info.bit_depth == 10


@pytest.mark.parametrize(("transposed", "rows", "columns"), list(itertools.product([False, True], repeat=3)))
def test_rotation_and_mirroring_give_the_picture_as_shown(transposed: bool, rows: bool, columns: bool) -> None:
    orientation, stored = Orientation(transposed, rows, columns), np.arange(12, dtype=np.uint8).reshape(3, 4)
    rotation, is_mirrored = rotation_of(orientation)
    turned = np.rot90(stored, -rotation // 90)
    np.testing.assert_array_equal(turned[:, ::-1] if is_mirrored else turned, orientation.shown(stored))


def test_a_protocol_says_how_frames_are_rendered_and_notes_tell(tmp_path: Path) -> None:
    for index in range(2):
        Image.fromarray(np.full((32, 48), 3000, dtype=np.uint16)).save(tmp_path / f"{index}.png")
    with tubelet.open_video(tmp_path, fps=5.0, protocol=Protocol(picture_window=(0.0, 6000.0))) as video:
        assert int(video.frames_at([1]).pixels.max()) == 128
        assert video.info.bit_depth == 16
        assert any("16-bit pictures" in note for note in video.info.notes)


def test_info_of_pictures(sources: dict[str, Path]) -> None:
    with tubelet.open_video(sources["folder"], fps=10.0) as video:
        assert (video.info.codec, video.info.bit_depth, video.info.fps) == ("png", 8, 10.0)
        assert video.seconds == pytest.approx(1.2)
    with tubelet.open_video(sources["volume"]) as video:
        assert (video.info.codec, video.info.color) == ("array", ColorInfo())
