"""Several processes read one dataset together: each its own rows of the batches that one process would read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader, rows_of_process
from tubelet.data.manifest.read import read_manifest
from tubelet.protocol import Protocol

PROTOCOL = Protocol(num_frames=2, frame_stride=1, resize_short_side=6, crop_size=(4, 4))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(11):
        file = tmp_path / "ab"[i % 2] / f"{i}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, np.random.default_rng(i).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8))
    return tmp_path


def loader_of(root: Path, rank: int, number: int, mode: str = "train", repeats: int = 1) -> Loader:
    manifest = read_manifest(root, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    augment = AugmentConfig(repeats=repeats) if mode == "train" else None
    dataset = ClipDataset(manifest, PROTOCOL, "train" if mode == "train" else "views", augment)
    return Loader(dataset, 5, seed=7, rank=rank, num_processes=number)


@pytest.mark.parametrize(("number", "repeats"), [(2, 1), (3, 1), (5, 1), (2, 3)])
def test_training_batches_are_those_of_one_process_cut_in_parts(root: Path, number: int, repeats: int) -> None:
    whole = list(loader_of(root, 0, 1, repeats=repeats).train_batches(4))
    parts = [list(loader_of(root, rank, number, repeats=repeats).train_batches(4)) for rank in range(number)]
    assert len(whole) == 2
    for step, batch in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[step].clips for part in parts]), batch.clips, atol=0, rtol=0)
        assert torch.cat([part[step].labels for part in parts]).equal(batch.labels)
        assert sum((part[step].index for part in parts), ()) == batch.index


def test_shares_of_a_batch_differ_by_one_row_at_most() -> None:
    for rows, number in [(5, 2), (7, 3), (9, 9), (12, 5)]:
        spans = [rows_of_process(rows, rank, number) for rank in range(number)]
        assert [i for span in spans for i in range(span.start, span.stop)] == list(range(rows))
        lengths = [span.stop - span.start for span in spans]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("number", [2, 3, 20])
def test_every_row_is_evaluated_by_one_process(root: Path, number: int) -> None:
    loaders = [loader_of(root, rank, number, "views") for rank in range(number)]
    rows = [[row for batch in loader.eval_batches() for row in batch.index] for loader in loaders]
    assert sorted(row for own in rows for row in own) == list(range(11))
    assert [len(own) for own in rows] == [loader.num_eval_videos for loader in loaders]
