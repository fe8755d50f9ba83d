"""A frame asked for alone is that of a full pass, where containers, clocks and encoders make that hard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.scan.scan_file import FileFacts, ScanFile, scan_file
from tubelet.data.video.container import VideoContainer
from tubelet.data.video.full_decode import digest
from tubelet.data.video.packet_decoder import DOUBTFUL, PacketDecoder
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader

NUM_FRAMES, KEY_EVERY = 60, 12
WRAP_SECONDS = 2**33 / 90000  # of the clock of MPEG-TS
GOP = f"keyint={KEY_EVERY}:min-keyint={KEY_EVERY}:scenecut=0:bframes=3:b-adapt=0"
# Of pictures that are 20 blocks wide: more than one refresh reaches in 12 frames.
REFRESH = f"keyint={KEY_EVERY}:min-keyint={KEY_EVERY}:intra-refresh=1:bframes=0"


def write(path: Path, x264: str, codec: str = "libx264", width: int = 96) -> Path:
    """Frames on which a square of noise stands elsewhere each time, before bars that never change."""
    options = {"x264-params": x264} if codec == "libx264" else {"g": str(KEY_EVERY), "bf": "2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, width, "yuv420p"
        for index in range(NUM_FRAMES):
            pixels = np.full((64, width, 3), np.arange(width)[None, :, None] // 24 * 60 % 256, np.uint8)
            left = index * 7 % (width - 16)
            pixels[8:24, left : left + 16] = np.random.default_rng(index).integers(0, 256, (16, 16, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, *, is_ordered: bool = True, **options: str) -> Path:
    """The same packets in another container, with presentation times or with decoding times in their place."""
    form = "mpegts" if target.suffix in (".ts", ".mts", ".m2ts") else None
    with av.open(str(source)) as old, av.open(str(target), "w", format=form, options=options) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream, packet.pts = copy, packet.pts if is_ordered else packet.dts
                new.mux(packet)
    return target


def with_clock_wrap(source: Path, target: Path) -> Path:
    return remux(source, target, output_ts_offset=f"{WRAP_SECONDS - 1:.3f}")


def joined(source: Path, target: Path) -> Path:
    part = remux(source, target.with_name(f"part{target.suffix}"))
    target.write_bytes(part.read_bytes() * 2)
    return target


HARD: dict[str, Callable[[Path, Path], Path]] = {
    "plain.ts": remux,
    "plain.mts": remux,
    "bluray.m2ts": lambda source, target: remux(source, target, mpegts_m2ts_mode="1"),
    "wrap.ts": with_clock_wrap,
    "joined.ts": joined,
    "joined.m2ts": lambda source, target: joined(source, target),
    "no_order.mp4": lambda source, target: remux(source, target, is_ordered=False),
    "no_order.mkv": lambda source, target: remux(source, target, is_ordered=False),
    "no_order.flv": lambda source, target: remux(source, target, is_ordered=False),
    "no_order.ts": lambda source, target: remux(source, target, is_ordered=False),
    "interlaced.ts": lambda source, target: write(target, GOP + ":interlaced=1:tff=1"),
    "mpeg2.ts": lambda source, target: write(target, "", "mpeg2video"),
    "mpeg2_no_order.mkv": lambda source, target: remux(
        write(target.with_suffix(".ts"), "", "mpeg2video"), target, is_ordered=False
    ),
    "refresh.mp4": lambda source, target: write(target, REFRESH, width=320),
    "refresh.ts": lambda source, target: write(target, REFRESH, width=320),
    "refresh_no_header.mkv": lambda source, target: remux(write(target.with_suffix(".ts"), REFRESH, width=320), target),
}
TRANSPORT = [name for name in HARD if name.endswith("ts") and not name.startswith(("refresh", "no_order"))]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes each file of ``HARD`` once, and ``plain.mp4`` with the packets of the first ones."""
    folder = tmp_path_factory.mktemp("hard")

    def path_of(name: str) -> Path:
        plain, path = folder / "plain.mp4", folder / name
        if not plain.exists():
            write(plain, GOP)
        if not path.exists():
            HARD[name](plain, path)
        return path

    return path_of


def full_pass(path: Path) -> list[bytes]:
    """The digest of every frame, decoded in one go."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        assert stream is not None
        return [digest(frame) for frame in container.decode(stream)]  # type: ignore[arg-type]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The rows of the packets whose frames a reader decodes, by whichever way."""
    rows: list[int | None] = []
    for kind in (PacketDecoder, VideoContainer):
        plain = kind.decode_from

        def counted(self, *arguments, plain=plain):  # type: ignore[no-untyped-def]
            for frame, damaged in plain(self, *arguments):
                rows.append(frame.pts)
                yield frame, damaged

        monkeypatch.setattr(kind, "decode_from", counted)
    return rows


@pytest.mark.parametrize("name", HARD)
def test_a_frame_alone_or_beside_any_other_is_that_of_a_full_pass(name: str, hard: Callable[[str], Path]) -> None:
    path = hard(name)
    expected, rng = full_pass(path), np.random.default_rng(0)
    index = PacketIndex.of(path)
    assert index.num_frames == len(expected)
    last = len(expected) - 1
    asked = [
        [last],
        [last - 1],
        [0],
        *([i] for i in range(1, last, 5)),
        *(rng.integers(0, last, 4).tolist() for _ in range(4)),
    ]
    with VideoReader(path, index) as reader:
        for indices in [*asked, list(range(len(expected)))]:
            assert reader.digests(indices) == {int(i): expected[i] for i in indices}, indices


@pytest.mark.parametrize("name", ["plain.mp4", *TRANSPORT])
def test_a_film_decodes_each_frame_once_and_a_frame_alone_one_group(
    name: str, hard: Callable[[str], Path], decoded: list[int | None]
) -> None:
    index = PacketIndex.of(hard(name))
    with VideoReader(hard(name), index) as reader:
        decoded.clear()
        indices = range(index.num_frames)
        assert [shown for shown, _ in reader.frames_in_order(indices)] == list(indices)
        assert len(decoded) <= 1.2 * index.num_frames
        for alone in (index.num_frames - 1, index.num_frames // 2, 5):
            decoded.clear()
            reader.frames_at([alone])
            assert len(decoded) <= 2 * KEY_EVERY, alone


@pytest.mark.parametrize("name", [name for name in HARD if "no_order" in name])
def test_frames_without_presentation_times_are_in_the_decoders_order_and_noted(
    name: str, hard: Callable[[str], Path]
) -> None:
    facts = scanned(hard(name))
    assert facts.kind == "ok"
    assert any("without presentation times" in note for note in facts.notes)
    with VideoReader(hard(name)) as reader:
        np.testing.assert_allclose(np.diff(reader.timestamps), 0.04, atol=0.002)


def test_nothing_is_noted_of_the_same_packets_with_times(hard: Callable[[str], Path]) -> None:
    for name in ("plain.ts", "joined.ts", "refresh.mp4"):
        assert (scanned(hard(name)).kind, scanned(hard(name)).notes) == ("ok", ())


def test_times_of_joined_files_and_of_a_wrapped_clock_go_on(hard: Callable[[str], Path]) -> None:
    for name, count in (("wrap.ts", NUM_FRAMES), ("joined.ts", 2 * NUM_FRAMES), ("joined.m2ts", 2 * NUM_FRAMES)):
        with VideoReader(hard(name)) as reader:
            np.testing.assert_allclose(reader.timestamps, np.arange(count) / 25, atol=1e-6)


def test_a_gradual_refresh_is_no_start_of_its_own(hard: Callable[[str], Path]) -> None:
    index = PacketIndex.of(hard("refresh.mp4"))
    doubtful = index.packets["flags"][index.keys["row"]] & DOUBTFUL > 0
    assert doubtful.any()
    assert (index.keys["start"][doubtful] < np.flatnonzero(doubtful)).any()
    plain = PacketIndex.of(hard("plain.ts"))
    assert plain.keys["start"].tolist() == list(range(len(plain.keys)))


def test_a_scan_sees_a_reader_that_gives_another_picture(
    hard: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that nobody tried gives half a picture, without an error of the decoder."""
    monkeypatch.setattr("tubelet.data.video.packet_index.with_tried_starts", lambda keys, *_: keys)
    facts = scanned(hard("refresh.mp4"))
    assert facts.kind == "damaged"
    assert facts.reason == f"frame {NUM_FRAMES - 1} read alone is another picture than in a full decode"


def scanned(path: Path) -> FileFacts:
    return scan_file(ScanFile(path=path.name, file=path, entry=None))
