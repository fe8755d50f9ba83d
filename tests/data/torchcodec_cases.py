"""What holds of videos read by torchcodec; run by ``test_torchcodec_reader``, in a process that finds an FFmpeg."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_video import CODED, write_coded, write_gif

from tubelet.data.loading.dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.torchcodec_reader import TorchcodecReader
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import Window
from tubelet.errors import VideoError
from tubelet.protocol import Protocol

FIXTURES = Path(__file__).parents[1] / "fixtures" / "clips"
PROTOCOL = Protocol(num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16), num_temporal_views=2)
DAMAGED = "corrupted.mp4"
OTHER_COLORS = ("h264_10bits.mp4", "testsrc2_odd_height_and_width_vp9.mp4")  # chroma is interpolated differently
SAME = sorted(f.name for f in FIXTURES.iterdir() if f.suffix != ".md" and f.name not in (DAMAGED, *OTHER_COLORS))
INTERLACED = "interlaced.mp4"  # so is its chroma
# Here torchcodec finds no frame, or one that is shown at another time than PyAV's.
REFUSED = ("h264.avi", "intra_refresh.ts", "mpeg4.avi", "open_gop.ts", "program_stream.mpg", "raw.h264")


def some(num_frames: int) -> list[int]:
    """A few indices in no order, one of them twice, the first and the last among them."""
    middle = np.random.default_rng(0).integers(0, num_frames, size=5).tolist()
    return [*middle, num_frames - 1, 0, middle[0]]


def assert_same_frames(path: Path) -> None:
    with VideoReader(path) as ours, TorchcodecReader(path) as theirs:
        indices = some(len(ours.timestamps))
        expected, found = ours.frames_at(indices), theirs.frames_at(indices)
        assert (theirs.height, theirs.width) == (ours.height, ours.width)
        assert found.seconds == expected.seconds
        assert torch.equal(found.pixels, expected.pixels)
        assert found.pixels.is_contiguous()
        ordered = sorted(set(indices))
        for (i, one), (j, other) in zip(ours.frames_in_order(ordered), theirs.frames_in_order(ordered), strict=True):
            assert i == j
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name", SAME)
def test_frames_equal_those_of_pyav_bit_by_bit(name: str) -> None:
    assert_same_frames(FIXTURES / name)


@pytest.mark.parametrize("name", sorted(set(CODED) - {INTERLACED}))
def test_a_file_is_read_alike_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".gif"):
        write_gif(path)
    else:
        write_coded(path, **CODED[name])  # type: ignore[arg-type]
    if name in REFUSED:
        with pytest.raises(VideoError) as caught:
            assert_same_frames(path)
        assert str(caught.value).startswith(f"{path}: torchcodec ")
        assert "decoder=pyav" in str(caught.value)
    else:
        assert_same_frames(path)


@pytest.mark.parametrize("name", [*OTHER_COLORS, INTERLACED])
def test_frames_of_other_colors_are_still_those_frames(name: str, tmp_path: Path) -> None:
    path = write_coded(tmp_path / name, **CODED[name]) if name in CODED else FIXTURES / name  # type: ignore[arg-type]
    with VideoReader(path) as ours, TorchcodecReader(path) as theirs:
        every = range(min(20, len(ours.timestamps)))
        expected, found = ours.frames_at(every).pixels.float(), theirs.frames_at(every).pixels.float()
    apart = torch.stack([(found - frame).abs().mean(dim=(1, 2, 3)) for frame in expected])  # [ours, theirs]
    assert apart.argmin(dim=0).tolist() == list(every)
    assert apart.diagonal().max() < 8


def test_a_window_is_cut_and_resized(tmp_path: Path) -> None:
    path = FIXTURES / "rotation_90.mov"
    with VideoReader(path) as ours, TorchcodecReader(path) as theirs:
        plain = Window(box=(3, 5, 40, 50), size=(40, 50))
        assert torch.equal(theirs.frames_at([1], plain).pixels, ours.frames_at([1], plain).pixels)
        reduced = Window(box=(10, 0, ours.height - 10, ours.width), size=(60, 80))
        one, other = (reader.frames_at([2, 0], reduced).pixels.float() for reader in (ours, theirs))
        assert one.shape == other.shape == (2, 3, 60, 80)
        assert 10 * torch.log10(255**2 / (one - other).square().mean()) > 30
        with pytest.raises(ValueError, match="not inside a frame"):
            theirs.frames_at([0], Window(box=(0, 1, ours.height, ours.width), size=(8, 8)))


@pytest.mark.parametrize("indices", [[], [-1], [9999]])
def test_frames_that_are_not_there_are_refused_as_by_pyav(indices: list[int]) -> None:
    messages = []
    for reader in (VideoReader, TorchcodecReader):
        with pytest.raises(VideoError) as caught:
            reader(FIXTURES / "rotation_0.mov").frames_at(indices)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_file_damaged_after_it_was_indexed_is_one_line(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a:b.mp4")  # no protocol, though it looks like one
    index = PacketIndex.of(path)
    content = bytearray(path.read_bytes())
    for packet in index.packets:
        start, size = int(packet["position"]), int(packet["size"])
        content[start : start + size] = b"\xff" * size
    path.write_bytes(bytes(content))
    index = replace(index, modified_ns=path.stat().st_mtime_ns)
    with pytest.raises(VideoError) as caught:
        TorchcodecReader(path, index).frames_at([20])
    assert str(caught.value).startswith(f"{path}: torchcodec cannot decode the file (")
    assert ".cpp" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_and_failures_are_those_of_pyav(tmp_path: Path, num_workers: int) -> None:
    for number in range(3):
        write_coded(tmp_path / f"{number}.mp4", size=(20, 26))
    (tmp_path / "damaged.mp4").write_bytes((FIXTURES / DAMAGED).read_bytes())
    names = ("0.mp4", "damaged.mp4", "1.mp4", "2.mp4")
    rows = tuple(Sample(path=name, labels=(0,), split="train") for name in names)
    manifest = Manifest(root=tmp_path, samples=rows, class_names={"label": ("a", "b")}, layout="files")
    batches = {}
    for decoder in ("pyav", "torchcodec"):
        dataset = ClipDataset(manifest, PROTOCOL, "views", decoder=decoder)
        with Loader(dataset, 4, num_workers=num_workers if decoder == "torchcodec" else 0) as loader:
            (batches[decoder],) = loader.eval_batches()
    ours, theirs = batches["pyav"], batches["torchcodec"]
    assert theirs.weight.tolist() == ours.weight.tolist() == [1, 0, 1, 1]
    assert [line.split(": ")[0] for line in theirs.failures] == [line.split(": ")[0] for line in ours.failures]
    assert torch.equal(theirs.clips, ours.clips)  # nothing is scaled
