"""The reader gives exactly the frames a full decode gives, whatever the file, or one clear error."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from tubelet.data.video.formats import VIDEO_SUFFIXES, is_video_path
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.data.video.scaling import CropWindow
from tubelet.errors import VideoError

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
X264 = "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-pyramid=normal"


def picture(index: int, height: int, width: int) -> np.ndarray:
    """A moving gradient with a patch of noise: no two frames look alike."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 3 + index * 7, y * 4 + index * 5, (x + y) * 2 + index * 11], axis=-1) % 256
    pixels[:16, :16] = np.random.default_rng(index).integers(0, 256, (16, 16, 3))
    return pixels.astype(np.uint8)


def write_coded(
    path: Path,
    codec: str = "libx264",
    *,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    ticks: Sequence[int] = range(45),
    ticks_per_second: int = 25,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """Writes one frame for every tick at which one is to be shown."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=ticks_per_second, options=options or {"x264-params": X264})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks_per_second)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, ticks_per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_all(path: Path) -> np.ndarray:
    """Every frame of the best video stream, "N H W 3" as stored, decoded in one go."""
    with av.open(f"file:{path}") as container:
        frames = list(container.decode(container.streams.best("video")))
        size = {"width": frames[0].width, "height": frames[0].height}
        return np.stack([frame.to_ndarray(format="rgb24", **size) for frame in frames])


def read(reader: VideoReader, indices: Sequence[int]) -> np.ndarray:
    """Frames "T H W 3"."""
    return reader.frames_at(indices).pixels.numpy().transpose(0, 2, 3, 1)


def error_of(path: Path, indices: Sequence[int] = (0,)) -> str:
    """The message for a file that cannot be read, which must be one line that names the file."""
    with pytest.raises(VideoError) as caught, VideoReader(path) as reader:
        reader.frames_at(indices)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


CODED: dict[str, dict[str, object]] = {
    "b_frames.mp4": {},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open_gop.mp4": {"options": {"x264-params": X264 + ":open-gop=1"}},
    "open_gop.mkv": {"options": {"x264-params": X264 + ":open-gop=1"}},
    "open_gop.ts": {"options": {"x264-params": X264 + ":open-gop=1"}},
    "hevc_open_gop.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "keyint=10:bframes=3:open-gop=1:log-level=none:pools=none:frame-threads=1"},
    },
    "intra_refresh.ts": {"options": {"x264-params": "keyint=15:intra-refresh=1:bframes=0"}},
    "interlaced.mp4": {"options": {"x264-params": X264 + ":interlaced=1:tff=1"}},
    "h264.avi": {},  # decoding times only, with B-frames
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "10", "bf": "2"}},
    "program_stream.mpg": {"codec": "mpeg1video", "options": {"g": "10", "bf": "2"}},  # a time for some packets
    "raw.h264": {},  # no times at all
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "10", "auto-alt-ref": "1", "cpu-used": "8"}},
    "motion.gif": {"codec": "gif"},
    "variable_rate.mp4": {"ticks": [t * t for t in range(1, 46)], "ticks_per_second": 600},
    "variable_rate.mkv": {"ticks": [t * t for t in range(1, 46)], "ticks_per_second": 600},
}


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes each file of ``CODED`` once."""
    folder = tmp_path_factory.mktemp("coded")

    def path_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            arguments = dict(CODED[name])
            if name.endswith(".gif"):
                write_gif(path)
            else:
                write_coded(path, **arguments)  # type: ignore[arg-type]
        return path

    return path_of


def write_gif(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8"
        for index in range(45):
            frame = av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24").reformat(format="rgb8")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", CODED)
def test_random_access_equals_a_full_decode(name: str, coded: Callable[[str], Path]) -> None:
    expected = decode_all(coded(name))
    rng = np.random.default_rng(0)
    with VideoReader(coded(name), rendering=Rendering(interlaced="as_stored")) as reader:
        assert len(reader.timestamps) == len(expected) == 45
        for count in (1, 2, 3, 5, 8):
            indices = rng.integers(0, 45, count).tolist()
            np.testing.assert_array_equal(read(reader, indices), expected[indices])
        for indices in ([44], [0], list(range(45)), list(range(3, 40, 2))):
            np.testing.assert_array_equal(read(reader, indices), expected[indices])


@settings(max_examples=40, deadline=None)
@given(indices=st.lists(st.integers(0, 44), min_size=1, max_size=12))
def test_any_indices_in_any_order_with_repeats(indices: list[int], coded: Callable[[str], Path]) -> None:
    path = coded("b_frames.mp4")
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(read(reader, indices), decode_all(path)[indices])


ODD = {  # frames shown, (height, width) as shown
    "-video-with-dash-.mp4": (5, (1, 1)),
    "av1_video.mkv": (125, (360, 640)),
    "discard_first_keyframe.mp4": (25, (64, 64)),
    "h264_10bits.mp4": (30, (200, 200)),
    "h265_video.mp4": (10, (128, 128)),
    "no_duration.webm": (74, (720, 1280)),
    "rotation_0.mov": (3, (320, 568)),
    "test_non_zero_start.mp4": (12, (112, 200)),
    "testsrc2_odd_height_and_width_444.mp4": (25, (241, 321)),
    "testsrc2_odd_height_and_width_vp9.mp4": (25, (241, 321)),
    "transparent.webm": (150, (200, 200)),
    "unordered.mov": (4, (50, 50)),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_gives_every_shown_frame(name: str) -> None:
    count, size = ODD[name]
    expected = decode_all(CLIPS / name)
    indices = sorted({0, count // 3, count // 2, count - 1})
    with VideoReader(CLIPS / name) as reader:
        assert len(reader.timestamps) == len(expected) == count
        assert (reader.height, reader.width) == size
        assert reader.timestamps[0] == 0
        assert (np.diff(reader.timestamps) > 0).all()
        np.testing.assert_array_equal(read(reader, indices), expected[indices])


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The decoder's own planes, without the padding of their lines."""
    bits = 2 if "10le" in frame.format.name else 1
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width * bits].copy()
        for plane in frame.planes
    ]


@pytest.mark.parametrize("name", [*CODED, *ODD])
def test_random_access_gives_the_planes_of_a_full_decode(name: str, coded: Callable[[str], Path]) -> None:
    """Before any conversion, so that no rounding can hide a difference."""
    path = CLIPS / name if name in ODD else coded(name)
    with av.open(f"file:{path}") as container:
        expected = [planes(frame) for frame in container.decode(container.streams.best("video"))]
    rng = np.random.default_rng(1)
    with VideoReader(path) as reader:
        for count in (1, 2, 4):
            wanted = np.unique(rng.integers(0, len(expected), count))
            for index, frame, damaged in reader._fetch(wanted):
                assert not damaged
                for one, other in zip(planes(frame), expected[index], strict=True):
                    np.testing.assert_array_equal(one, other)


WINDOWED = ["rotation_90.mov", "rotation_180.mov", "testsrc2_odd_height_and_width_vp9.mp4", "h264_10bits.mp4"]


@pytest.mark.parametrize("name", [*WINDOWED, "kinetics"])
def test_a_window_at_its_own_size_is_that_part_of_the_frame(name: str, tmp_path: Path) -> None:
    """340 columns, as Kinetics is often stored, are where swscale's conversion to planes leaves the last four unset."""
    path = CLIPS / name
    if name == "kinetics":
        path = write_coded(tmp_path / "k.mp4", size=(256, 340), ticks=range(3))
    rng = np.random.default_rng(0)
    with VideoReader(path) as reader:
        whole = reader.frames_at([1]).pixels
        _, _, height, width = whole.shape
        boxes = [(0, 0, height, width), (1, width - 17, 9, 17), (height - 1, width - 1, 1, 1), (3, 5, 32, 48)]
        for _ in range(12):
            h, w = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
            boxes.append((int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w))
        for top, left, h, w in boxes:
            window = CropWindow(box=(top, left, h, w), size=(h, w))
            part = reader.frames_at([1], window).pixels
            assert part.is_contiguous()
            assert part.equal(whole[..., top : top + h, left : left + w]), window


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


@pytest.mark.parametrize("name", ["rotation_0.mov", "rotation_270.mov", "no_duration.webm"])
def test_a_scaled_window_is_near_an_antialiased_resize(name: str) -> None:
    """The default conversion from YUV, which the expected picture starts from, is itself 41 to 46 dB away from ours."""
    with VideoReader(CLIPS / name) as reader:
        top, left, height, width = reader.height // 5 + 1, reader.width // 7, reader.height // 2, reader.width // 2
        whole = reader.frames_at([2]).pixels
        size = (height // 2, width // 3)
        got = reader.frames_at([2], CropWindow(box=(top, left, height, width), size=size)).pixels
    part = whole[..., top : top + height, left : left + width]
    assert psnr(got, functional.resize(part, list(size), antialias=True)) > 38


@pytest.mark.parametrize("box", [(0, 0, 49, 64), (-1, 0, 5, 5), (0, 60, 5, 5), (3, 3, 0, 5)])
def test_a_window_outside_the_frame_is_refused(box: tuple[int, int, int, int], coded: Callable[[str], Path]) -> None:
    with VideoReader(coded("b_frames.mp4")) as reader, pytest.raises(ValueError, match="not inside a frame"):
        reader.frames_at([0], CropWindow(box=box, size=(4, 4)))


def test_the_size_is_known_without_decoding(coded: Callable[[str], Path]) -> None:
    index = PacketIndex.of(CLIPS / "rotation_90.mov")
    with VideoReader(CLIPS / "rotation_90.mov", index) as reader:
        assert (reader.height, reader.width) == (568, 320)
        assert reader._decoder is None
        assert reader._container is None


def test_packets_are_read_without_the_container(coded: Callable[[str], Path]) -> None:
    """Where the bytes lie is known for MP4, Matroska, WebM and AVI; a transport stream cuts its packets to pieces."""
    for name in ("b_frames.mp4", "variable_rate.mkv", "vp9.webm", "h264.avi", "mpeg4.avi", "open_gop.ts"):
        with VideoReader(coded(name)) as reader:
            reader.frames_at([30, 2])
            assert (reader._container is None) == (name != "open_gop.ts")


def test_an_index_that_points_elsewhere_costs_time_and_no_frame(coded: Callable[[str], Path]) -> None:
    path, index = coded("b_frames.mp4"), PacketIndex.of(coded("b_frames.mp4"))
    packets = index.packets.copy()
    packets["position"][10:] += 5
    with VideoReader(path, dataclasses.replace(index, packets=packets)) as reader:
        np.testing.assert_array_equal(read(reader, [3, 17, 44]), decode_all(path)[[3, 17, 44]])


def test_an_index_of_a_file_that_has_changed_is_made_anew(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "v.mp4")
    index = PacketIndex.of(path)
    write_coded(path, ticks=range(7))
    with VideoReader(path, index) as reader:
        np.testing.assert_array_equal(read(reader, [6, 0]), decode_all(path)[[6, 0]])


@pytest.mark.parametrize(("name", "quarter_turns"), [("90", -1), ("180", 2), ("270", 1)])
def test_rotated_files_are_turned_upright(name: str, quarter_turns: int) -> None:
    """All four files show a keyboard; these turns (counter-clockwise) make its letters readable."""
    path = CLIPS / f"rotation_{name}.mov"
    with VideoReader(path) as reader:
        shown = read(reader, [1])[0]
        assert (reader.height, reader.width) == shown.shape[:2]
    np.testing.assert_array_equal(shown, np.rot90(decode_all(path)[1], quarter_turns))


@pytest.mark.parametrize(("mirror", "axis"), [("hflip", 1), ("vflip", 0)])
def test_mirrored_files_are_mirrored_back(tmp_path: Path, mirror: str, axis: int) -> None:
    path = tmp_path / "selfie.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(0, **{mirror: True})
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(read(reader, [0])[0], np.flip(decode_all(path)[0], axis))


def test_name_that_begins_with_a_dash_may_be_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CLIPS)
    with VideoReader("-video-with-dash-.mp4") as reader:
        assert read(reader, [4]).shape == (1, 1, 1, 3)


def test_name_with_a_colon_is_a_file_and_no_protocol(tmp_path: Path, coded: Callable[[str], Path]) -> None:
    path = tmp_path / "http:part 1.mp4"
    shutil.copy(coded("b_frames.mp4"), path)
    with VideoReader(path) as reader:
        assert len(reader.timestamps) == 45


def test_best_stream_is_read_and_not_the_first(tmp_path: Path) -> None:
    """The larger picture with the higher bit rate is the second stream."""
    path, noise = tmp_path / "two.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, (height, width) in zip(streams, [(48, 64), (96, 128)], strict=True):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = av.stream.Disposition.default
        for _ in range(10):
            for stream in streams:
                pixels = noise.integers(0, stream.height, (stream.height, stream.width, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert (reader.height, reader.width) == (96, 128)
        np.testing.assert_array_equal(read(reader, [7, 2]), decode_all(path)[[7, 2]])


def test_stream_that_changes_size_keeps_the_first_size(tmp_path: Path) -> None:
    parts = [write_coded(tmp_path / f"{size[0]}.h264", size=size, ticks=range(10)) for size in [(48, 64), (96, 128)]]
    path = tmp_path / "joined.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoReader(path) as reader:
        assert len(reader.timestamps) == 20
        np.testing.assert_array_equal(read(reader, [3, 18]), decode_all(path)[[3, 18]])


def test_stream_cut_out_of_a_broadcast_counts_only_what_decodes(tmp_path: Path, coded: Callable[[str], Path]) -> None:
    content = coded("open_gop.ts").read_bytes()
    tables, packet = 3, 188
    path = tmp_path / "middle.ts"
    path.write_bytes(content[: tables * packet] + content[len(content) // 3 // packet * packet :])
    expected = decode_all(path)
    with VideoReader(path) as reader:
        assert len(reader.timestamps) == len(expected) < 40
        np.testing.assert_array_equal(read(reader, [20, 0]), expected[[20, 0]])


def test_timestamps_are_the_presentation_times(coded: Callable[[str], Path]) -> None:
    with VideoReader(coded("variable_rate.mp4")) as reader:
        np.testing.assert_allclose(reader.timestamps, [(t * t - 1) / 600 for t in range(1, 46)], atol=1e-9)
        assert reader.fps == pytest.approx(44 / reader.timestamps[-1])
        assert reader.duration_seconds == pytest.approx(reader.timestamps[-1] + 1 / reader.fps)


def test_timestamps_equal_the_decimals_a_user_writes(coded: Callable[[str], Path]) -> None:
    with VideoReader(coded("b_frames.mp4")) as reader:
        assert reader.timestamps.dtype == np.float64
        assert reader.timestamps.tolist() == [index / 25 for index in range(45)]
        assert (reader.fps, reader.duration_seconds) == (25.0, pytest.approx(1.8))


def test_files_without_times_are_spaced_by_their_rate(coded: Callable[[str], Path]) -> None:
    with VideoReader(coded("raw.h264")) as reader:
        np.testing.assert_allclose(reader.timestamps, np.arange(45) / 25)


def test_frames_own_contiguous_memory(coded: Callable[[str], Path]) -> None:
    with VideoReader(coded("b_frames.mp4")) as reader:
        first = reader.frames_at([5, 6])
        kept = first.pixels.clone()
        reader.frames_at([20, 21]).pixels.zero_()
    assert first.pixels.is_contiguous()
    assert first.pixels.equal(kept)
    assert first.seconds == (0.2, 0.24)


def test_a_seek_is_made_only_where_it_saves_decoding(coded: Callable[[str], Path]) -> None:
    """Key frames stand at 0, 10, 20, 30 and 40."""
    with VideoReader(coded("b_frames.mp4")) as reader:
        groups = [group.tolist() for _, group in reader._groups(np.array([1, 2, 8, 12, 31, 33, 45 - 1]))]
    assert groups == [[1, 2, 8, 12], [31, 33], [44]]


@pytest.mark.parametrize("indices", [[45], [-1], [3, 100], []])
def test_index_outside_the_video_is_an_error(indices: list[int], coded: Callable[[str], Path]) -> None:
    assert "expected some of 0 to 44" in error_of(coded("b_frames.mp4"), indices)


def test_files_that_are_no_video_are_one_clear_error(tmp_path: Path) -> None:
    text, empty, missing = tmp_path / "notes.mp4", tmp_path / "empty.mp4", tmp_path / "missing.mp4"
    text.write_text("this is a shopping list\n" * 50)
    empty.touch()
    assert "expected a video" in error_of(text)
    assert "empty (0 bytes)" in error_of(empty)
    assert "no such file" in error_of(missing)
    assert "no such file" in error_of(tmp_path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_is_no_video_even_with_a_cover_picture(tmp_path: Path, cover: bool) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=16000)
        if cover:
            stream = container.add_stream("mjpeg", rate=1)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
            container.mux(stream.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    assert "found only audio" in error_of(path)


def test_unknown_codec_is_an_error(tmp_path: Path, coded: Callable[[str], Path]) -> None:
    path = tmp_path / "future.mp4"
    path.write_bytes(coded("b_frames.mp4").read_bytes().replace(b"avc1\0\0", b"zzz1\0\0"))
    assert "unknown codec" in error_of(path)


def test_damaged_packets_are_an_error_and_good_frames_before_them_are_not() -> None:
    assert "cannot decode" in error_of(CLIPS / "corrupted.mp4", [40])
    with VideoReader(CLIPS / "corrupted.mp4") as reader:
        assert read(reader, [3]).shape == (1, 720, 1280, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_file_cut_short_is_an_error(tmp_path: Path, suffix: str) -> None:
    whole = write_coded(tmp_path / f"whole{suffix}", container_options={"movflags": "faststart"})
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert "ends early" in error_of(cut)


def test_concealed_damage_is_an_error_and_frames_that_do_not_depend_on_it_still_read(tmp_path: Path) -> None:
    """The decoder paints over a damaged key frame and over all that is predicted from it, and says nothing."""
    path = write_coded(tmp_path / "scratched.mp4")
    whole = decode_all(path)
    with av.open(str(path)) as container:
        key_frame = next(bytes(p) for p in container.demux(video=0) if p.is_keyframe and p.pts == 20 * 512)
    assert path.read_bytes().count(key_frame) == 1
    keep = len(key_frame) // 4
    path.write_bytes(path.read_bytes().replace(key_frame, key_frame[:keep] + bytes(len(key_frame) - keep)))
    for index in (20, 25):
        assert "damaged" in error_of(path, [index])
    with VideoReader(path) as reader:
        np.testing.assert_array_equal(read(reader, [3, 19, 35]), whole[[3, 19, 35]])


def test_closed_readers_leave_no_file_open(coded: Callable[[str], Path]) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        kept = []
        for _ in range(300):
            with VideoReader(coded("b_frames.mp4")) as reader:
                kept.append(reader)
        assert len({id(reader) for reader in kept}) == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_video_files_are_told_by_their_suffix() -> None:
    assert is_video_path("a/B.MP4")
    known = ("vob", "m2v", "divx", "dv", "h264", "3g2", "qt", "f4v", "m2t", "hevc", "mk3d")
    assert all(is_video_path(f"a.{suffix}") for suffix in known)
    assert is_video_path(Path("clip.webm"))
    assert not is_video_path("clip.txt")
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)
