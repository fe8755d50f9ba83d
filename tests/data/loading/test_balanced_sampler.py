"""Balanced sampling: every class equally often, another clip each time a row comes again, the same for every run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from support import PROTOCOL
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.loading.balanced_sampler import balanced_shares, draw_balanced
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample


def manifest(labels: list[tuple[int, ...]], root: Path = Path(), multi_label: bool = False) -> Manifest:
    rows = tuple(Sample(path=f"{i}.npy", labels=label, split="train") for i, label in enumerate(labels))
    heads = 1 if multi_label else len(labels[0])
    names = {f"head {i}": ("a", "b", "c") for i in range(heads)}
    return Manifest(root=root, samples=rows, class_names=names, layout="files", multi_label=multi_label)


def test_every_class_is_drawn_with_the_same_probability() -> None:
    shares = balanced_shares(manifest([(0,)] * 90 + [(1,)] * 9 + [(2,)]))
    assert [shares[:90].sum(), shares[90:99].sum(), shares[99]] == pytest.approx([1 / 3] * 3)


def test_of_several_heads_and_labels_the_mean_is_taken() -> None:
    both = balanced_shares(manifest([(0, 0), (0, 1), (0, -1), (1, 1)]))
    assert both == pytest.approx(np.array([1 / 3 + 1, 1 / 3 + 1 / 2, 1 / 3 + 1, 1 + 1 / 2]) / 5)
    several = balanced_shares(manifest([(0, 1), (0,), (), (0, 2)], multi_label=True))
    expected = np.array([(1 / 3 + 1) / 2, 1 / 3, 1, (1 / 3 + 1) / 2])
    assert several == pytest.approx(expected / expected.sum())


def test_rows_that_come_again_are_numbered_between_the_repeats() -> None:
    order = draw_balanced(np.array([0.9, 0.05, 0.05]), np.random.default_rng(0), num_repeats=2)
    repeats = [divmod(index, 3)[0] for index in order if index % 3 == 0]
    assert repeats == [2 * k for k in range(len(repeats))]
    assert len(repeats) > 1


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    rng = np.random.default_rng(0)
    for i in range(12):
        np.save(tmp_path / f"{i}.npy", rng.integers(0, 255, (6, 40, 40), np.uint8))
    rows = manifest([(0,)] * 10 + [(1,)] + [(2,)], tmp_path)
    return Loader(ClipDataset(rows, PROTOCOL, "train"), 4, seed=3, sampling="balanced")


def test_an_epoch_is_as_long_as_without_and_depends_on_seed_and_epoch_alone(loader: Loader) -> None:
    first, again, other = (list(loader.train_batches(epoch)) for epoch in (0, 0, 1))
    assert len(first) == loader.steps_per_epoch == 3
    assert all(torch.equal(a.clips, b.clips) and a.index == b.index for a, b in zip(first, again, strict=True))
    assert [batch.index for batch in first] != [batch.index for batch in other]
    resumed = list(loader.train_batches(0, start=2))
    assert torch.equal(resumed[0].clips, first[2].clips)


def test_rare_classes_come_as_often_as_frequent_ones(loader: Loader) -> None:
    batches = (batch for epoch in range(40) for batch in loader.train_batches(epoch))
    labels = Counter(label for batch in batches for label in batch.labels.tolist())
    assert min(labels.values()) > 0.27 * 480  # of 480 draws, a third each; three standard deviations are 31


def test_a_row_that_comes_again_in_an_epoch_is_another_clip(loader: Loader) -> None:
    batches = list(loader.train_batches(0))
    clips = torch.cat([batch.clips for batch in batches])
    rows = [index for batch in batches for index in batch.index]
    twice = next(row for row, count in Counter(rows).items() if count > 1)
    one, other = (clips[i] for i in [i for i, row in enumerate(rows) if row == twice][:2])
    assert not torch.equal(one, other)


def test_with_repeats_no_two_clips_of_a_batch_are_the_same(loader: Loader) -> None:
    dataset = ClipDataset(loader.dataset.manifest, PROTOCOL, "train", AugmentConfig(repeats=2))
    for batch in Loader(dataset, 4, sampling="balanced").train_batches(0):
        assert len({clip.numpy().tobytes() for clip in batch.clips}) == 8
