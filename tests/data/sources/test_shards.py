"""A member of a shard is read as the file it was, by its place, and never as something else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from layout_examples import tar
from support import assert_one_line
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.read import read_manifest
from tubelet.data.sources.open_source import open_source
from tubelet.data.sources.shards import read_member
from tubelet.errors import DataError
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16), num_temporal_views=2, num_spatial_crops=1
)
LONG = "folder/" + "x" * 120  # longer than a tar header holds


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.fixture
def shards(tmp_path: Path, write_video) -> Path:  # type: ignore[no-untyped-def]
    """A folder of two shards with videos, beside the same videos in class folders."""
    for split, members in (("train", {"0": "a", LONG: "b", "ü": "a"}), ("val", {"3": "b"})):
        content = {}
        for seed, (key, label) in enumerate(members.items()):
            video = write_video(tmp_path / "files" / split / label / f"{seed}.mp4", size=(24, 30), seed=seed)
            content |= {f"{key}.mp4": video.read_bytes(), f"{key}.cls": label.encode()}
        tar(tmp_path / f"shards/{split}-000000.tar", content)
    return tmp_path


def test_videos_of_shards_give_the_clips_of_their_files(shards: Path) -> None:
    packed = read_manifest(shards / "shards", ManifestConfig(layout="webdataset"))
    loose = read_manifest(shards / "files")
    assert packed.class_names == loose.class_names
    by_split = [[s.labels for s in m.split("val").samples] for m in (packed, loose)]
    assert by_split[0] == by_split[1]
    read_packed = ClipDataset(packed.split("train"), PROTOCOL, "views")
    read_loose = ClipDataset(loose.split("train"), PROTOCOL, "views")
    order = [0, 2, 1]  # the loose files are sorted by class
    for index, other in enumerate(order):
        assert torch.equal(read_packed.read(index).pixels, read_loose.read(other).pixels)
        assert read_packed.read(index).labels == read_loose.read(other).labels


def test_volumes_of_shards_are_volumes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, size=(6, 20, 20), dtype=np.uint8)
    tar(tmp_path / "train.tar", {"a.npy": npy(volume), "a.cls": b"0", "b.npy": npy(volume * 0), "b.cls": b"1"})
    manifest = read_manifest(tmp_path / "train.tar", ManifestConfig(val_fraction=0.0))
    sample = manifest.samples[0]
    with open_source(manifest.path_of(sample), sample.entry, PROTOCOL) as reader:
        assert np.array_equal(reader.frames_at(range(6)).pixels[:, 0].numpy(), volume)


def test_a_changed_shard_is_noticed(tmp_path: Path) -> None:
    shard = tar(tmp_path / "t.tar", {"a.mp4": b"a" * 700, "a.cls": b"0", "b.mp4": b"b" * 700, "b.cls": b"1"})
    entry = (
        read_manifest(shard, ManifestConfig(layout="webdataset", val_fraction=0.0), is_checked=False).samples[1].entry
    )
    assert read_member(shard, entry) == b"b" * 700
    shard.write_bytes(shard.read_bytes()[:3300])
    with pytest.raises(DataError) as caught:
        read_member(shard, entry)
    assert_one_line(caught, str(shard), "cut short")
    tar(shard, {"c.mp4": b"c" * 5000})
    with pytest.raises(DataError) as caught:
        read_member(shard, entry)
    assert_one_line(caught, str(shard), "write the manifest again")
    with pytest.raises(DataError) as caught:
        read_member(shard, "b.mp4")
    assert_one_line(caught, "expected the address of one")


def test_a_damaged_video_is_named_by_shard_and_member(tmp_path: Path) -> None:
    shard = tar(tmp_path / "t.tar", {"a.mp4": b"no video", "a.cls": b"0", "b.mp4": b"", "b.cls": b"1"})
    manifest = read_manifest(shard, ManifestConfig(layout="webdataset", val_fraction=0.0), is_checked=False)
    for sample in manifest.samples:
        with pytest.raises(DataError) as caught:
            open_source(shard, sample.entry, PROTOCOL)
        assert_one_line(caught, f"{shard}:{sample.entry.partition('@')[0]}:")


@pytest.mark.parametrize(
    ("members", "parts"),
    [
        ({"a.mp4": b"x"}, ["line 1", "sample a has no a.cls"]),
        ({"a.cls": b"1"}, ["line 1", "sample a holds 0 videos"]),
        ({"a.mp4": b"x", "a.avi": b"x", "a.cls": b"1"}, ["holds 2 videos"]),
        ({"a.mp4": b"x", "a.json": b"{"}, ["a.json is not JSON"]),
        ({"a.mp4": b"x", "a.json": b"[1]"}, ["holds no object"]),
        ({"a.mp4": b"x", "a.cls": b" "}, ["empty label"]),
    ],
)
def test_samples_without_video_or_label_are_refused(
    tmp_path: Path, members: dict[str, bytes], parts: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        read_manifest(tar(tmp_path / "t.tar", members))
    assert_one_line(caught, "t.tar", "1 malformed rows", *parts)


def test_compressed_shards_and_other_files_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w:gz"):
        pass
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "t.tar")
    assert_one_line(caught, "not a plain .tar file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "empty", ManifestConfig(layout="webdataset"))
    assert_one_line(caught, "no .tar files")
