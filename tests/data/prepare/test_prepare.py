"""Prepared files show every frame at its time, and preparing again does no work that is done."""

from __future__ import annotations

import os
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType
from torchvision.transforms.v2 import functional

from support import assert_one_line, touch
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare import transcode_pool
from tubelet.data.prepare.config import Encoding, PrepareConfig
from tubelet.data.prepare.pack_shards import pack
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.data.prepare.transcode import transcode
from tubelet.data.prepare.transcode_pool import SourceFile, VideoTranscoder
from tubelet.data.sources.shards import member_range, read_member
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, DataError, VideoError
from tubelet.files import appended_lines
from tubelet.protocol import Protocol

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
SMALL = PrepareConfig(num_workers=1)
LONG = f"c/{'ü' * 60}.mp4"  # neither ASCII nor short enough for a plain tar header


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("rotation_90.mov", (454, 256)),
        ("discard_first_keyframe.mp4", (64, 64)),
        ("test_non_zero_start.mp4", (112, 200)),
        ("transparent.webm", (200, 200)),
        ("testsrc2_odd_height_and_width_444.mp4", (240, 320)),
        ("av1_video.mkv", (256, 456)),
    ],
)
def test_every_frame_is_there_upright_and_at_its_time(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    target = tmp_path / "small.mp4"
    count = transcode(CLIPS / name, target, Encoding(short_side=256, crf=10))
    with VideoReader(CLIPS / name) as source, VideoReader(target) as copy:
        assert count == len(copy.timestamps) == len(source.timestamps)
        assert (copy.height, copy.width) == size
        np.testing.assert_allclose(copy.timestamps, source.timestamps, atol=1e-5)
        wanted = [0, count // 2, count - 1]
        expected = functional.resize(source.frames_at(wanted).pixels, list(size), antialias=True)
        error = (copy.frames_at(wanted).pixels.float() - expected.float()).abs().mean()
    assert error < 8  # of 255; the next frame, another color matrix or a lost rotation is further away


def test_a_prepared_file_has_short_groups_and_one_frame_between_two_that_nothing_depends_on(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    source = write_video(tmp_path / "v.mp4", num_frames=40, size=(64, 80))
    transcode(source, tmp_path / "p.mp4", SMALL.encoding)
    with VideoReader(tmp_path / "p.mp4") as reader:
        assert len(reader.index.packets) == 40
        assert reader.index.keys["shown"].tolist() == [0, 16, 32]
        types = {index: PictureType(frame.pict_type).name for index, frame, _ in reader._fetch(np.arange(40))}
    assert [types[index] for index in range(1, 15, 2)] == ["B"] * 7
    assert "B" not in [types[index] for index in range(0, 15, 2)]


@pytest.mark.parametrize("through_container", [False, True])
def test_frames_that_nothing_depends_on_are_decoded_only_where_they_are_needed(
    through_container: bool, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    transcode(write_video(tmp_path / "v.mp4", num_frames=40, size=(64, 80)), tmp_path / "p.mp4", SMALL.encoding)
    group = range(16, 31)
    with VideoReader(tmp_path / "p.mp4") as reader:
        index = reader.index
        others = {n for n, frame, _ in reader._fetch(np.arange(40)) if PictureType(frame.pict_type).name != "B"}
        if through_container:
            reader.index = replace(index, is_direct=False)

        def decoded(wanted: range) -> list[int]:
            needed = {int(index.rows[number]): number for number in wanted}
            rows = [frame.pts for frame, _ in reader._decode_from(int(index.keys["row"][1]), needed)]
            return [number for number in map(index.rows.tolist().index, rows) if number in group]

        assert decoded(group) == list(group)
        assert decoded(group[::2]) == [number for number in group if number in others or number in group[::2]]
        assert len(decoded(group[::2])) < len(group) - 3


def test_a_damaged_source_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        transcode(CLIPS / "corrupted.mp4", tmp_path / "p.mp4", SMALL.encoding)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def manifest(tmp_path: Path, write_video: Callable[..., Path]) -> Manifest:
    """Four rows of three files, one of them with two segments."""
    root = tmp_path / "data"
    write_video(root / "a" / "one.avi.mp4", seed=1)
    write_video(root / "b" / "two.mp4", seed=2)
    shutil.move(write_video(root / "b" / "three.mp4", seed=3), root / "b" / "three.MOV")
    samples = (
        Sample(path="a/one.avi.mp4", labels=(0,), split="train", start_seconds=0.0, end_seconds=0.5),
        Sample(path="a/one.avi.mp4", labels=(0,), split="train", start_seconds=0.5),
        Sample(path="b/two.mp4", labels=(1,), split="train"),
        Sample(path="b/three.MOV", labels=(1,), split="test"),
    )
    return Manifest(root=root, samples=samples, class_names={"label": ("a", "b")}, layout="csv")


def test_the_prepared_manifest_has_the_same_rows_and_an_index(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare(manifest, out, SMALL)
    assert (done.num_files, done.num_made, done.failures) == (3, 3, {})
    prepared = read_manifest(done.manifest)
    assert prepared.class_names == manifest.class_names
    for row, source in zip(prepared.samples, manifest.samples, strict=True):
        assert vars(row) | {"path": ""} == vars(source) | {"path": ""}
    assert [row.path for row in prepared.samples[2:]] == ["b/two.mp4", "b/three.MOV.mp4"]
    assert any(manifest.fingerprint in note for note in prepared.notes)
    assert IndexStore.beside(out).get(out / "b" / "two.mp4") is not None


def test_sources_whose_prepared_names_collide_keep_files_of_their_own(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """Also on file systems that know no case, or that write accents in one form only."""
    names = [
        "x.avi",
        "x.avi.mp4",
        "X.AVI.mp4",
        "x.AVI",
        "\u00e9.mkv",
        "e\u0301.mkv",
        "d.mov",
        "d.mov.mp4/y.mp4",
        "free.mkv",
    ]
    for seed, name in enumerate(names):
        source = write_video(tmp_path / "data" / f"{seed}.mp4", num_frames=4 + seed, seed=seed)
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        source.rename(tmp_path / "data" / name)
    samples = tuple(
        Sample(path=name, labels=(seed // 2 % 2,), split=("train", "test")[seed % 2]) for seed, name in enumerate(names)
    )
    root = Manifest(root=tmp_path / "data", samples=samples, class_names={"label": ("a", "b")}, layout="csv")
    for config in (SMALL, replace(SMALL, shards=1)):
        prepared = read_manifest(prepare(root, tmp_path / f"out{config.shards}", config).manifest)
        dataset = ClipDataset(prepared, Protocol(num_frames=2, crop_size=(32, 32), resize_short_side=32), "views")
        counts = []
        for row in range(len(dataset)):
            with dataset.open(row) as reader:
                counts.append(len(reader.timestamps))
        assert counts == [4 + seed for seed in range(len(names))]
        assert [row.split for row in prepared.samples] == [row.split for row in samples]
    loose = [row.path for row in read_manifest(tmp_path / "outNone" / "manifest.csv").samples]
    assert len({unicodedata.normalize("NFC", path).casefold() for path in loose}) == len(names)
    assert {"d.mov.mp4/y.mp4", "free.mkv.mp4"} < set(loose)
    assert loose[2] == "X.AVI.mp4"  # a file keeps its own name before another gets it


@pytest.mark.parametrize(
    ("codec", "pixel_format", "tags"),
    [
        ("libx264", "yuv420p", (1, 1, 1, 1)),  # range, matrix, primaries, transfer by FFmpeg's numbers: BT.709
        ("libx264", "yuv420p", (2, 5, 5, 6)),  # BT.601 in full range
        ("libx265", "yuv420p10le", (1, 9, 9, 16)),  # BT.2020 with PQ
        ("libx265", "yuv422p10le", (2, 9, 9, 18)),  # with HLG, in full range
    ],
)
def test_a_prepared_file_keeps_the_color_tags_and_the_colors(
    codec: str, pixel_format: str, tags: tuple[int, ...], tmp_path: Path
) -> None:
    source, names = tmp_path / "v.mkv", ("color_range", "colorspace", "color_primaries", "color_trc")
    with av.open(str(source), "w") as container:
        quiet = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "libx265" else {}
        stream = container.add_stream(codec, rate=25, options={"crf": "4", **quiet})
        stream.height, stream.width, stream.pix_fmt = 64, 64, pixel_format
        for name, value in zip(names, tags, strict=True):
            setattr(stream.codec_context, name, value)
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), (30, 200, 90), np.uint8), format="rgb24")
        frame = picture.reformat(format=pixel_format, dst_colorspace=tags[1], dst_color_range=tags[0])
        for name, value in zip(names, tags, strict=True):
            setattr(frame, name, value)
        for number in range(3):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    transcode(source, tmp_path / "p.mp4", Encoding(short_side=32, crf=4))
    pixels = []
    for file in (source, tmp_path / "p.mp4"):
        with VideoReader(file) as reader:
            by_name = dict(
                zip(
                    ("color_range", "color_primaries", "color_trc", "colorspace"),
                    reader.index.codec.colors,
                    strict=True,
                )
            )
            assert tuple(by_name[name] for name in names) == tags
            pixels.append(reader.frames_at([1]).pixels.float().mean((0, 2, 3)))
    assert (pixels[0] - pixels[1]).abs().max() < 4


def test_preparing_again_makes_only_what_has_changed(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(manifest, out, SMALL)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert prepare(manifest, out, SMALL).num_made == 0
    os.utime(manifest.root / "b" / "two.mp4", ns=(1, 1))
    (out / "b" / "three.MOV.mp4").write_bytes(b"cut")
    assert prepare(manifest, out, SMALL).num_made == 2
    changed = {path.name for path, mark in before.items() if path.stat().st_mtime_ns != mark}
    assert changed == {"two.mp4", "three.MOV.mp4"}
    assert prepare(manifest, out, PrepareConfig(num_workers=1, quality="high")).num_made == 3


def clips_of(manifest: Manifest) -> list[torch.Tensor]:
    protocol = Protocol(num_frames=4, frame_stride=2, resize_short_side=32, crop_size=(32, 32), num_temporal_views=2)
    dataset = ClipDataset(manifest, protocol, "views")
    return [dataset.read(index).pixels for index in range(len(dataset))]


def test_prepared_shards_give_the_clips_of_the_loose_files(manifest: Manifest, tmp_path: Path) -> None:
    loose = read_manifest(prepare(manifest, tmp_path / "loose", SMALL).manifest)
    out = tmp_path / "packed"
    packed = read_manifest(prepare(manifest, out, replace(SMALL, shards=1)).manifest)
    assert {row.path for row in packed.samples} == {"shards/train-000000.tar", "shards/test-000000.tar"}
    assert not list(out.rglob("*.mp4"))
    assert [row.labels for row in packed.samples] == [row.labels for row in loose.samples]
    for one, other in zip(clips_of(packed), clips_of(loose), strict=True):
        assert one.equal(other)


def test_members_of_shards_are_read_in_place_with_their_index(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = read_manifest(prepare(manifest, tmp_path / "out", replace(SMALL, shards=1)).manifest)
    store = IndexStore.beside(packed.root)
    for row in packed.samples:
        assert row.entry is not None
        index = store.get((packed.path_of(row), row.entry))
        assert index is not None
        offset, size = member_range(packed.path_of(row), row.entry)
        assert offset < index.packets["position"].min() < index.packets["position"].max() < offset + size
    for name in ("packet_index", "reader"):
        monkeypatch.setattr(f"tubelet.data.video.{name}.VideoContainer", lambda *_: pytest.fail("opened the container"))
    assert len(clips_of(packed)) == 4


def test_other_readers_find_videos_and_labels_in_the_shards(manifest: Manifest, tmp_path: Path) -> None:
    samples = manifest.samples[1:]  # one row of each file
    prepare(replace(manifest, samples=samples), tmp_path / "out", replace(SMALL, shards=1))
    found = read_manifest(tmp_path / "out" / "shards", ManifestConfig(layout="webdataset"))
    labels = {(row.split, row.start_seconds, found.class_names["label"][row.labels[0]]) for row in found.samples}
    assert labels == {("test", None, "b"), ("train", None, "b"), ("train", 0.5, "a")}


def test_packing_goes_on_where_it_stopped_and_packs_only_what_is_new(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sharded = tmp_path / "out", replace(SMALL, shards=1)
    monkeypatch.setattr("tubelet.data.prepare.prepare_dataset.appended_lines", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, out, sharded)
    assert len(list(out.rglob("*.mp4"))) == 3
    monkeypatch.setattr("tubelet.data.prepare.prepare_dataset.appended_lines", appended_lines)
    assert prepare(manifest, out, sharded).num_made == 0
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["test-000000.tar", "train-000000.tar"]
    before = clips_of(read_manifest(out / "manifest.csv"))
    marks = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    os.utime(manifest.root / "b" / "two.mp4", ns=(1, 1))
    assert prepare(manifest, out, sharded).num_made == 1
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert (out / "shards" / "train-000001.tar").is_file()
    for one, other in zip(clips_of(read_manifest(out / "manifest.csv")), before, strict=True):
        assert one.equal(other)


@contextmanager
def stopping(ledger: Path) -> Iterator[Callable[..., None]]:
    """Stops a preparation when its first shard is there and the ledger does not say so yet."""
    with appended_lines(ledger) as append:

        def append_or_stop(*lines: dict[str, Any]) -> None:
            if "shard" in lines[0]:
                raise KeyboardInterrupt
            append(*lines)

        yield append_or_stop


def content_for(name: str) -> bytes:
    return name.encode() * (900_000 // len(name.encode()))


@pytest.mark.parametrize(("megabytes", "num_shards"), [(1, 3), (2, 2), (9, 1)])
def test_shards_are_bounded_and_a_larger_file_has_its_own(tmp_path: Path, megabytes: int, num_shards: int) -> None:
    samples, targets = [], {}
    for name in ("a.b.mp4", "a_b.mp4", LONG):
        targets[name] = tmp_path / name
        targets[name].parent.mkdir(exist_ok=True)
        targets[name].write_bytes(content_for(name))
        samples.append(Sample(path=name, labels=(0,), split="train"))
    manifest = Manifest(root=tmp_path, samples=tuple(samples), class_names={"label": ("a",)}, layout="csv")
    shards = list(pack(manifest, tmp_path, targets, megabytes * 10**6, set()))
    assert len(shards) == num_shards
    for packed in shards:
        for name, place in packed.items():
            assert read_member(tmp_path / place.shard, place.entry) == content_for(name)
    assert len({place.entry.partition("@")[0] for packed in shards for place in packed.values()}) == 3


def test_sources_that_fail_are_named_and_their_rows_left_out(manifest: Manifest, tmp_path: Path) -> None:
    shutil.copy(CLIPS / "corrupted.mp4", manifest.root / "b" / "three.MOV")
    with av.open(str(manifest.root / "b" / "two.mp4")) as whole, av.open(str(tmp_path / "cut.mkv"), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in (packet for packet in whole.demux(video=0) if packet.size):
            packet.stream = stream
            cut.mux(packet)
    content = (tmp_path / "cut.mkv").read_bytes()
    (manifest.root / "b" / "two.mp4").write_bytes(content[: len(content) * 9 // 10])
    done = prepare(manifest, tmp_path / "out", SMALL)
    assert list(done.failures) == ["b/three.MOV"]
    (note,) = done.notes["b/two.mp4"]
    assert "the file ends early" in note
    assert any(
        f"of 1 sources there was to say: b/two.mp4: {note}" in line for line in read_manifest(done.manifest).notes
    )
    assert "three.MOV" in done.failures["b/three.MOV"]
    prepared = read_manifest(done.manifest)
    assert len(prepared) == 3
    assert any("1 rows left out: 1 files" in note for note in prepared.notes)
    assert not (tmp_path / "out" / "b" / "three.MOV.mp4").exists()


class Hanging(VideoTranscoder):
    """A decoder that hangs in some files, on opening one and on decoding another."""

    def run(self, file: SourceFile, allow: Callable[[float], None]) -> dict[str, Any]:
        name = file.source.name
        with pytest.MonkeyPatch.context() as patch:
            if name == "one.avi.mp4":
                patch.setattr("tubelet.data.video.packet_index.VideoContainer", lambda *_: threading.Event().wait())
            if name == "two.mp4":
                patch.setattr("tubelet.data.prepare.transcode.VideoContainer", lambda *_: threading.Event().wait())
            return super().run(file, allow)


def test_a_decoder_that_hangs_is_killed_when_it_takes_far_too_long_for_its_file(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode_pool, "VideoTranscoder", Hanging)
    monkeypatch.setattr(transcode_pool, "_START_SECONDS", 3.0)
    done = prepare(manifest, tmp_path / "out", SMALL)
    assert list(done.failures) == ["a/one.avi.mp4", "b/two.mp4"]
    opening, decoding = done.failures.values()
    assert "one.avi.mp4: not read within 3.0" in opening
    assert "two.mp4: not read within 3.6" in decoding  # 12 frames
    assert opening.endswith("its process was killed; check that the file plays, or leave it out")
    assert [row.path for row in read_manifest(done.manifest, is_checked=False).samples] == ["b/three.MOV.mp4"]


def test_rows_that_are_no_video_files_are_counted_by_kind_and_named(manifest: Manifest, tmp_path: Path) -> None:
    np.save(manifest.root / "v.npy", np.zeros((4, 8, 8), np.uint8))
    touch(manifest.root, "frames/1.jpg")
    others = tuple(Sample(path=path, labels=(0,), split="train") for path in ("v.npy", "frames", "v.npy"))
    with pytest.raises(DataError) as caught:
        prepare(replace(manifest, samples=(*manifest.samples, *others)), tmp_path / "out", SMALL)
    assert_one_line(
        caught, "of 7 rows 2 are volumes (first: v.npy), 1 are frame folders of unknown rate (first: frames)"
    )
    assert_one_line(caught, "prepare a list of the other rows alone")
    assert not (tmp_path / "out").exists()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="short_side must be even"):
        PrepareConfig(short_side=255)
    with pytest.raises(ConfigError, match="shards must be at least 1"):
        PrepareConfig(shards=0)
