"""A file that lost its end says so with what it has and promised, and no picture of it is a part of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode import transcode
from tubelet.data.scan.scan_file import ScanFile, scan_file
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.truncation import missing_bytes
from tubelet.errors import VideoError
from tubelet.protocol import Protocol

NUM_FRAMES, FPS = 30, 25
CONTAINERS = {  # suffix: FFmpeg's names of the container, codec and pixel format
    "mkv": ("matroska", "libx264", "yuv420p"),
    "webm": ("webm", "libvpx-vp9", "yuv420p"),
    "gif": ("gif", "gif", "rgb8"),
    "ts": ("mpegts", "libx264", "yuv420p"),
    "m2ts": ("mpegts", "mpeg2video", "yuv420p"),
    "flv": ("flv", "flv", "yuv420p"),
    "wmv": ("asf", "wmv2", "yuv420p"),
    "vob": ("vob", "mpeg2video", "yuv420p"),
    "nut": ("nut", "mpeg4", "yuv420p"),
    "mxf": ("mxf", "mpeg2video", "yuv420p"),
    "h264": ("h264", "libx264", "yuv420p"),
    "hevc": ("hevc", "libx265", "yuv420p"),
}
PROMISES = {"mkv", "webm", "flv", "mxf"}  # a length in seconds


def write(path: Path) -> Path:
    container_name, codec, pixel_format = CONTAINERS[path.suffix[1:]]
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    with av.open(str(path), "w", format=container_name) as container:
        options = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "libx265" else {}
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixel_format
        stream.codec_context.gop_size = 8
        for number in range(NUM_FRAMES):
            picture = np.roll(noise, 2 * number, 1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pictures_by_time(reader: VideoReader) -> dict[int, np.ndarray]:
    return {
        round(FPS * seconds): reader.frames_at([index]).pixels.numpy()
        for index, seconds in enumerate(reader.timestamps.tolist())
    }


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_left_of_a_cut_file_is_whole_and_the_rest_is_noted(suffix: str, tmp_path: Path) -> None:
    source, cut = write(tmp_path / f"whole.{suffix}"), tmp_path / f"cut.{suffix}"
    with VideoReader(source) as reader:
        assert reader.notes == ()
        expected = pictures_by_time(reader)
    content = source.read_bytes()
    for share in (0.5, 0.63, 0.8):
        cut.write_bytes(content[: int(share * len(content))])
        try:
            reader = VideoReader(cut)
        except VideoError:
            assert suffix in ("nut", "mxf", "vob", "h264")  # some cuts give FFmpeg an error
            continue
        with reader:
            found = pictures_by_time(reader)
            assert 0 < len(found) < NUM_FRAMES or suffix in ("wmv", "vob")  # which hold all of the video before that
            assert all(np.array_equal(picture, expected[at]) for at, picture in found.items())
            if suffix in PROMISES and share < 0.6:
                (note,) = reader.notes
                assert f"the file ends early: {len(found)} frames, " in note
                assert " promised seconds are there" in note


def test_a_raw_stream_that_is_cut_inside_a_picture_is_shown_without_it(tmp_path: Path) -> None:
    """HEVC's decoder makes a picture of half of one and does not say so."""
    source, cut = write(tmp_path / "whole.hevc"), tmp_path / "cut.hevc"
    with VideoReader(source) as reader:
        expected = pictures_by_time(reader)
    content, left_out = source.read_bytes(), 0
    for end in np.linspace(len(content) // 3, len(content) - 4, 12).astype(int).tolist():
        cut.write_bytes(content[:end])
        with VideoReader(cut) as reader:
            found = pictures_by_time(reader)
            left_out += any("without the last" in note for note in reader.notes)
        assert all(np.array_equal(picture, expected[at]) for at, picture in found.items())
    assert left_out > 0


@pytest.mark.parametrize("suffix", ["ts", "hevc", "gif", "mkv"])
def test_a_cut_file_is_prepared_without_what_its_end_spoils(suffix: str, tmp_path: Path) -> None:
    source, cut = write(tmp_path / f"whole.{suffix}"), tmp_path / f"cut.{suffix}"
    for share in (0.5, 0.63, 0.8):
        cut.write_bytes(source.read_bytes()[: int(share * source.stat().st_size)])
        num_frames = transcode(cut, tmp_path / "prepared.mp4", Encoding(short_side=48, crf=30))
        assert num_frames == PacketIndex.of(cut).num_frames == PacketIndex.of(tmp_path / "prepared.mp4").num_frames


def write_frames(path: Path, codec: str, ticks: Sequence[int], size: tuple[int, int] = (48, 64)) -> Path:
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (*size, 3)).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_pictures_that_a_camera_dropped_are_not_missing_from_an_avi(tmp_path: Path) -> None:
    """The container counts an empty chunk for each."""
    file = write_frames(tmp_path / "drop.avi", "mpeg4", [*range(6), *range(15, 24), *range(43, 48)])
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 48
    with VideoReader(file) as reader:
        assert reader.notes == ()
        assert len(reader.timestamps) == 20
    assert scan_file(ScanFile(path=file.name, file=file, entry=None)).kind == "ok"


def test_a_tape_that_is_cut_inside_its_last_picture_is_shown_without_it(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "tape.dv", "dvvideo", range(3), (576, 720))
    file.write_bytes(file.read_bytes()[:-70_000])
    with VideoReader(file) as reader:
        assert len(reader.timestamps) == 2
        assert reader.notes == ("the file ends early: 2 frames, without the last 1",)


def test_that_a_file_has_several_videos_is_noted_and_a_cover_is_none(tmp_path: Path) -> None:
    file = tmp_path / "two.mp4"
    with av.open(str(file), "w") as container:
        streams = [container.add_stream("mpeg4", rate=FPS) for _ in range(2)]
        for stream, side in zip(streams, (32, 64), strict=True):
            stream.height = stream.width = side
        for stream in streams:
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
            container.mux(stream.encode(None))
    index = PacketIndex.of(file)
    assert index.notes == (
        f"the file has 2 video streams: the one of {index.codec.height} x {index.codec.width} pixels is read",
    )
    store = IndexStore.beside(tmp_path)
    store.put({file: index})
    kept = store.get(file)
    assert kept is not None
    assert kept.notes == index.notes


def test_a_gif_without_its_end_mark_shows_its_whole_pictures(tmp_path: Path) -> None:
    source, cut = write(tmp_path / "whole.gif"), tmp_path / "cut.gif"
    content = source.read_bytes()
    cut.write_bytes(content[:-200])
    with VideoReader(cut) as reader:
        assert reader.notes == ("the file ends early: 29 whole pictures are there, and no end mark",)
    facts = scan_file(ScanFile(path="cut.gif", file=cut, entry=None))
    assert (facts.kind, facts.num_frames) == ("truncated", 29)
    cut.write_bytes(content[:-1])  # the mark alone
    assert len(VideoReader(cut).timestamps) == NUM_FRAMES


def test_an_index_at_the_start_is_refused_with_what_is_there_of_it(tmp_path: Path) -> None:
    source, fast = write(tmp_path / "v.mkv"), tmp_path / "fast.mp4"
    with av.open(str(source)) as old, av.open(str(fast), "w", options={"movflags": "faststart"}) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None or packet.size:
                packet.stream = copy
                new.mux(packet)
    fast.write_bytes(fast.read_bytes()[:-2000])
    with pytest.raises(VideoError, match=rf"data ends early, at \d+ bytes, with \d+ of {NUM_FRAMES} promised frames"):
        PacketIndex.of(fast)


def test_half_a_packet_of_a_transport_stream_is_missing_bytes(tmp_path: Path) -> None:
    content = write(tmp_path / "v.ts").read_bytes()
    assert missing_bytes(tmp_path / "v.ts") == 0
    (tmp_path / "v.ts").write_bytes(content[:-100])
    assert missing_bytes(tmp_path / "v.ts") == 100


def test_the_note_reaches_training_and_prediction_and_is_kept_with_the_index(tmp_path: Path) -> None:
    content = write(tmp_path / "v.mkv").read_bytes()
    (tmp_path / "v.mkv").write_bytes(content[: len(content) // 2])
    index = PacketIndex.of(tmp_path / "v.mkv")
    store = IndexStore.beside(tmp_path)
    store.put({tmp_path / "v.mkv": index})
    protocol = Protocol(num_frames=2, frame_stride=1, resize_short_side=16, crop_size=(16, 16))
    sample = Sample(path="v.mkv", labels=(0,), split="train")
    manifest = Manifest(root=tmp_path, samples=(sample,), class_names={"label": ("a", "b")}, layout="csv")
    for dataset in (ClipDataset(manifest, protocol, "train"), ClipDataset(manifest, protocol, "views")):
        assert dataset.read(0).notes == index.notes != ()


def test_frames_that_would_fill_the_memory_are_refused_by_their_size(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "v.gif").read_bytes())
    content[6:10] = (12000).to_bytes(2, "little") * 2  # the size of the screen
    (tmp_path / "v.gif").write_bytes(content)
    with pytest.raises(
        VideoError, match="12000x12000 pixels, expected at most 89 million in a frame; replace the file"
    ):
        VideoReader(tmp_path / "v.gif")


def test_times_that_cannot_be_right_are_noted(write_video: Callable[..., Path], tmp_path: Path) -> None:
    source, fast = write_video(tmp_path / "v.mp4", num_frames=20, size=(32, 32)), tmp_path / "fast.mp4"
    with av.open(str(source)) as old, av.open(str(fast), "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 2000), copy
                new.mux(packet)
    with VideoReader(fast) as reader:
        notes = reader.notes
    assert "its times cannot be right: 20 frames in 0.009" in notes[0]
    assert scan_file(ScanFile(path="fast.mp4", file=fast, entry=None)).notes == notes
