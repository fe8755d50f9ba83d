"""A reader process is given the row to read, and nothing that grows with the number of rows."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memory import resident_bytes
from support import Notes
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.loading import index_videos
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.one_row import ClipReader, IndexedRow, OneRow
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.video.packet_index_store import STORE_NAME
from tubelet.protocol import Protocol
from tubelet.session.session import Session

PROTOCOL = Protocol(num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16))
MANY, FEW = 100_000, 1_000  # a list of so many rows takes 80 MB


@pytest.fixture(params=["forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def with_rows(manifest: Manifest, number: int) -> Manifest:
    """The rows of a manifest, and behind them rows of files that are not there."""
    names = (f"videos/class_{row % 400:03d}/video_{row:08d}.mp4" for row in range(number))
    absent = (Sample(path=name, labels=(row % 2,), split="train") for row, name in enumerate(names))
    return replace(manifest, samples=(*manifest.samples, *absent))


def test_the_memory_of_a_worker_does_not_depend_on_the_number_of_rows(manifest: Manifest, start_method: str) -> None:
    found = []
    for number in (FEW, MANY):
        with Loader(ClipDataset(with_rows(manifest, number), PROTOCOL), 4, num_workers=1) as loader:
            next(loader.train_batches(0))
            (worker,) = [child for child in multiprocessing.active_children() if child.name == "tubelet-reader"]
            found.append(resident_bytes(worker.pid or 0))
    few, many = found
    assert many - few < 5e6


def test_what_starts_a_worker_and_what_it_is_sent_have_one_size(manifest: Manifest) -> None:
    sizes = [len(pickle.dumps(ClipReader(ClipDataset(with_rows(manifest, n), PROTOCOL)))) for n in (FEW, 10 * FEW)]
    assert abs(sizes[1] - sizes[0]) < 16
    (sample,) = with_rows(manifest, 1).samples[-1:]
    assert len(pickle.dumps(IndexedRow(12, 3, sample))) < 500 + len(sample.path)


def test_a_reader_reads_what_the_dataset_reads_and_names_rows_alike(manifest: Manifest) -> None:
    dataset = ClipDataset(manifest, PROTOCOL)
    reader = pickle.loads(pickle.dumps(ClipReader(dataset)))
    for index in (0, 8, 8 + len(dataset)):  # the last is a repeat of row 8
        row = IndexedRow(index, 2, manifest.samples[index % len(dataset)])
        assert reader.run(row, lambda seconds: None).pixels.equal(dataset.read(index, 2).pixels)
        assert reader.name(row) == dataset.name(index)


def test_the_order_is_that_of_one_seeded_permutation_an_epoch(manifest: Manifest) -> None:
    number = len(manifest)
    loader = Loader(ClipDataset(manifest, PROTOCOL, augment=AugmentConfig(repeats=2)), 4, seed=7)
    for epoch in range(2):
        order = keyed_generator(7, epoch).permutation(number).tolist()
        expected = [tuple(2 * order[start : start + 4]) for start in range(0, number - 3, 4)]
        assert [batch.index for batch in loader.train_batches(epoch)] == expected
        assert [batch.index for batch in loader.train_batches(epoch, start=1)] == expected[1:]


def test_of_very_many_videos_none_is_indexed_ahead(
    manifest: Manifest, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(manifest.root / "a.mp4")
    row = Sample(path="a.mp4", labels=(0,), split="train")
    videos = replace(manifest, samples=(row, row))
    notes = Notes()
    monkeypatch.setattr(index_videos, "MAX_LOOKED_AT", 1)
    index_videos.index_manifest(videos, 1, Session(progress=notes))
    assert not (manifest.root / STORE_NAME).exists()
    assert "videos are indexed as they are read" in notes.notes[-1]
    monkeypatch.undo()
    index_videos.index_manifest(videos, 1, Session(progress=notes))
    assert (manifest.root / STORE_NAME).exists()


def test_any_other_row_is_refused_in_place_of_a_wrong_one() -> None:
    rows = OneRow(7, 3, Sample(path="a", labels=(0,), split="train"))
    assert (len(rows), rows[3].path) == (7, "a")
    with pytest.raises(LookupError, match="row 4 is not in this process, which has row 3 of 7"):
        rows[4]
    with pytest.raises(LookupError, match="has row None"):
        OneRow(7)[0]
