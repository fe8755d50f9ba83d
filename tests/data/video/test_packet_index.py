"""An index says where the packets of a file really lie, and one that cannot be trusted is made anew."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
from pathlib import Path

import av
import numpy as np
import pytest

from support import Notes, write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.index_videos import index_files, index_manifest, video_files
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.video.packet_decoder import DISCARDED, KEY
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import STORE_NAME, IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.protocol import Protocol
from tubelet.session.session import Session

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
READABLE = sorted(path.name for path in CLIPS.iterdir() if path.suffix != ".md")


class Counts(Notes):
    """Progress that remembers how far it was, too."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []

    def advance(self, done: int, total: int, text: str = "") -> None:
        self.told.append((done, total))


@pytest.mark.parametrize("name", READABLE)
def test_every_packet_lies_where_the_index_says(name: str) -> None:
    index, content = PacketIndex.of(CLIPS / name), (CLIPS / name).read_bytes()
    with av.open(f"file:{CLIPS / name}") as container:
        packets = [packet for packet in container.demux(container.streams.best("video")) if packet.size]
        assert len(index.packets) == len(packets)
        for row, packet in zip(index.packets, packets, strict=True):
            assert content[row["position"] : row["position"] + row["size"]] == bytes(packet)
            assert (row["pts"], bool(row["flags"] & KEY), bool(row["flags"] & DISCARDED)) == (
                packet.pts,
                packet.is_keyframe,
                packet.is_discard,
            )


def test_frames_that_are_not_shown_are_in_the_packets_only() -> None:
    index = PacketIndex.of(CLIPS / "discard_first_keyframe.mp4")
    assert (index.num_frames, len(index.pts), len(index.packets)) == (25, 25, 30)


def same(one: PacketIndex, other: PacketIndex) -> bool:
    return all(
        np.array_equal(value, getattr(other, name)) if isinstance(value, np.ndarray) else value == getattr(other, name)
        for name, value in vars(one).items()
        if name != "timestamps"
    )


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore.beside(tmp_path)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    names = ["rotation_90.mov", "av1_video.mkv", "corrupted.mp4"]
    return [Path(shutil.copy(CLIPS / name, tmp_path / name)) for name in names]


def test_what_is_kept_is_what_was_found(store: IndexStore, clips: list[Path]) -> None:
    found = {path: PacketIndex.of(path) for path in clips}
    assert all(store.get(path) is None for path in clips)
    store.put(found)
    for reader in (store, IndexStore(store.file), pickle.loads(pickle.dumps(store))):
        for path, index in found.items():
            kept = reader.get(path)
            assert kept is not None
            assert same(kept, index)


def test_a_dataset_may_move_with_its_indices(store: IndexStore, clips: list[Path], tmp_path: Path) -> None:
    store.put({clips[0]: PacketIndex.of(clips[0])})
    moved = tmp_path.with_name("moved")
    shutil.copytree(tmp_path, moved)
    assert IndexStore.beside(moved).get(moved / clips[0].name) is not None


def test_a_changed_file_has_no_index(store: IndexStore, clips: list[Path]) -> None:
    store.put({path: PacketIndex.of(path) for path in clips})
    os.utime(clips[0], ns=(1, 1))
    with clips[1].open("ab") as file:
        file.write(b"more")
    assert [store.get(path) is not None for path in clips] == [False, False, True]


@pytest.mark.parametrize("damage", ["foreign", "empty", "cut", "row", "version"])
def test_a_damaged_store_is_made_anew(damage: str, store: IndexStore, clips: list[Path]) -> None:
    store.put({path: PacketIndex.of(path) for path in clips})
    content = store.file.read_bytes()
    store.close()
    if damage == "row":
        with sqlite3.connect(store.file) as connection:
            connection.execute("UPDATE packets SET arrays = substr(arrays, 1, 30)")
        connection.close()
    elif damage == "version":
        with sqlite3.connect(store.file) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        store.file.write_bytes({"foreign": b"not a database " * 999, "empty": b"", "cut": content[:5000]}[damage])
    assert store.get(clips[0]) is None
    done = index_files(store, clips, num_workers=1)
    assert (done.num_made, done.failures) == (3, {})
    assert store.get(clips[0]) is not None
    with VideoReader(clips[0], store.get(clips[0])) as reader:
        assert len(reader.frames_at([0, 1, 2]).pixels) == 3


def test_indexing_goes_on_where_it_stopped_and_names_what_it_cannot_read(
    store: IndexStore, clips: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    index_files(store, clips[:1], num_workers=1)
    told: list[tuple[int, int]] = []
    done = index_files(store, [*clips, broken], num_workers=2, on_file=lambda *counts: told.append(counts))
    assert (done.num_files, done.num_made, list(done.failures)) == (4, 2, [broken])
    assert str(broken) in done.failures[broken]
    assert told[0] == (1, 4)
    assert told[-1] == (4, 4)


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, clips: list[Path]) -> None:
    store = IndexStore(tmp_path / "missing" / STORE_NAME)
    with pytest.raises(DataError, match="cannot be written") as caught:
        index_files(store, clips[:1], num_workers=1)
    assert "\n" not in str(caught.value)


def test_only_video_files_that_exist_are_indexed_and_each_once(tmp_path: Path, clips: list[Path]) -> None:
    names = [clips[0].name, "gone.mp4", clips[1].name, clips[0].name, "volume.npy"]
    (tmp_path / "volume.npy").touch()
    rows = tuple(Sample(path=name, labels=(0,), split="train") for name in names)
    assert video_files(Manifest(tmp_path, rows, {"label": ("a", "b")}, "files")) == clips[:2]


def test_a_manifest_is_indexed_once_and_a_folder_that_cannot_be_written_costs_one_note(
    tmp_path: Path, clips: list[Path]
) -> None:
    rows = tuple(Sample(path=path.name, labels=(0,), split="train") for path in clips)
    manifest, progress = Manifest(tmp_path, rows, {"label": ("a", "b")}, "files"), Counts()
    for _ in range(2):
        index_manifest(manifest, 0, Session(progress=progress))
    assert progress.told == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
    assert progress.notes == []
    IndexStore.beside(tmp_path).file.unlink()
    IndexStore.beside(tmp_path).file.mkdir()
    index_manifest(manifest, 0, Session(progress=progress))
    assert not any(done for done, _ in progress.told[5:]), "worked for nothing"
    (note,) = progress.notes
    assert "cannot be written" in note


@pytest.fixture
def read_only(tmp_path: Path, clips: list[Path]) -> Manifest:
    """A manifest in a folder of its own, of videos in a folder where no store can be written."""
    rows = [("path", "label", "split"), *((str(clip), "ab"[i % 2], "train") for i, clip in enumerate(clips[:2]))]
    (tmp_path / "lists").mkdir()
    table = write_csv(tmp_path / "lists" / "rows.csv", rows)
    (tmp_path / STORE_NAME).mkdir()
    return read_manifest(table, ManifestConfig(root=tmp_path, val_fraction=0.0, test_fraction=0.0))


def test_where_the_data_cannot_be_written_indices_are_kept_beside_the_manifest(
    read_only: Manifest, tmp_path: Path, clips: list[Path]
) -> None:
    progress = Counts()
    index_manifest(read_only.split("train"), 0, Session(progress=progress))
    assert progress.notes == []
    assert (tmp_path / "lists" / STORE_NAME).is_file()
    store = pickle.loads(pickle.dumps(IndexStore.beside(read_only.root, read_only.folder)))
    assert all(store.get(clip) is not None for clip in clips[:2])


def test_where_nothing_can_be_written_a_process_indexes_a_file_once(
    read_only: Manifest, tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists" / STORE_NAME).mkdir()
    progress = Counts()
    index_manifest(read_only, 0, Session(progress=progress))
    (note,) = progress.notes
    assert str(tmp_path / "lists" / STORE_NAME) in note
    protocol = Protocol(num_frames=2, resize_short_side=32, crop_size=(32, 32))
    dataset, opened = ClipDataset(read_only, protocol), list[Path]()
    made = PacketIndex.of
    monkeypatch.setattr(PacketIndex, "of", lambda path, part=None: opened.append(Path(path)) or made(path, part))
    for epoch in range(3):
        for row in range(len(dataset)):
            dataset.read(row, epoch)
    assert sorted(opened) == sorted(clips[:2])
    clips[0].touch()
    dataset.read(0)
    assert opened[2:] == [clips[0]]


def test_what_a_process_remembers_is_bounded(
    store: IndexStore, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = {clip: PacketIndex.of(clip) for clip in clips}
    sizes = [
        index.pts.nbytes + index.rows.nbytes + index.keys.nbytes + index.packets.nbytes for index in indices.values()
    ]
    monkeypatch.setattr("tubelet.data.video.packet_index_store._REMEMBERED_BYTES", sum(sizes) - 1)
    for clip in (clips[0], *clips):
        store.remember(clip, indices[clip])
    assert [store.get(clip) is not None for clip in clips] == [False, True, True]


def test_data_without_videos_gets_no_store(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", np.zeros((4, 8, 8), np.uint8))
    rows, progress = (Sample(path="volume.npy", labels=(0,), split="train"),), Counts()
    index_manifest(Manifest(tmp_path, rows, {"label": ("a", "b")}, "files"), 1, Session(progress=progress))
    assert progress.notes == []
    assert [path.name for path in tmp_path.iterdir()] == ["volume.npy"]
