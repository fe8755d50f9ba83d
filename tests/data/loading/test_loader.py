from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol
from tubelet.types import Batch

PROTOCOL = Protocol(
    num_frames=4,
    frame_stride=2,
    resize_short_side=20,
    crop_size=(16, 16),
    num_temporal_views=2,
    num_spatial_crops=1,
)


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.weight, other.weight)
        assert (one.index, one.failures, one.notes) == (other.index, other.failures, other.notes)
        assert one.seconds_covered == other.seconds_covered


def test_batches_are_equal_with_and_without_workers(manifest: Manifest, write_video: Callable[..., Path]) -> None:
    write_video(manifest.root / "a.mp4")
    (manifest.root / "bad.mp4").write_text("no video")
    rows = (*manifest.samples, *(Sample(path=p, labels=(1,), split="train") for p in ("a.mp4", "bad.mp4")))
    manifest = Manifest(root=manifest.root, samples=rows, class_names=manifest.class_names, layout="files")
    augment = AugmentConfig(flip_probability=0.5, scale_jitter=(0.9, 1.3), brightness=0.2)
    train, views = ClipDataset(manifest, PROTOCOL, augment=augment), ClipDataset(manifest, PROTOCOL, "views")
    with Loader(train, 3, seed=5) as here, Loader(train, 3, num_workers=2, seed=5) as there:
        for epoch in range(2):
            assert_equal(list(there.train_batches(epoch)), list(here.train_batches(epoch)))
    with Loader(views, 4) as here, Loader(views, 4, num_workers=2) as there:
        assert_equal(list(there.eval_batches()), list(here.eval_batches()))


def test_an_epoch_is_a_permutation_of_full_batches(manifest: Manifest) -> None:
    loader = Loader(ClipDataset(manifest, PROTOCOL), 4)
    assert loader.steps_per_epoch == 2
    assert loader.num_videos == 9
    orders = []
    for epoch in range(3):
        batches = list(loader.train_batches(epoch))
        assert [len(batch.index) for batch in batches] == [4, 4]
        order = [index for batch in batches for index in batch.index]
        assert len(set(order)) == 8
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]
    other_seed = next(Loader(loader.dataset, 4, seed=1).train_batches(0))
    assert other_seed.index != tuple(orders[0][:4])


def test_a_dataset_smaller_than_a_batch_is_one_batch(manifest: Manifest) -> None:
    loader = Loader(ClipDataset(manifest, PROTOCOL), 100)
    assert loader.steps_per_epoch == 1
    (batch,) = loader.train_batches(0)
    assert sorted(batch.index) == list(range(9))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_start_leaves_out_the_first_batches(manifest: Manifest, num_workers: int) -> None:
    with Loader(ClipDataset(manifest, PROTOCOL), 2, num_workers=num_workers) as loader:
        whole = list(loader.train_batches(3))
        for start in (1, 3):
            assert_equal(list(loader.train_batches(3, start=start)), whole[start:])
        assert list(loader.train_batches(3, start=4)) == []


def test_skipped_batches_are_not_read(manifest: Manifest) -> None:
    loader = Loader(ClipDataset(manifest, PROTOCOL), 2)
    first, *rest = loader.train_batches(0)
    for index in first.index:
        (manifest.root / f"{index}.npy").unlink()
    assert_equal(list(loader.train_batches(0, start=1)), rest)


def test_evaluation_reads_all_rows_in_order(manifest: Manifest) -> None:
    batches = list(Loader(ClipDataset(manifest, PROTOCOL, "views"), 4).eval_batches())
    assert [batch.index for batch in batches] == [(0, 1, 2, 3), (4, 5, 6, 7), (8,)]
    assert batches[0].clips.shape == (4, 2, 3, 4, 16, 16)
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0, 1] * 4 + [0]


def test_several_heads_give_a_column_of_labels_each(manifest: Manifest) -> None:
    samples = tuple(Sample(path=s.path, labels=(i % 2, i % 3), split="train") for i, s in enumerate(manifest.samples))
    names = {"verb": ("a", "b"), "noun": ("x", "y", "z")}
    both = Manifest(root=manifest.root, samples=samples, class_names=names, layout="files")
    batch = next(iter(Loader(ClipDataset(both, PROTOCOL, "views"), 4).eval_batches()))
    assert batch.labels.tolist() == [[0, 0], [1, 1], [0, 2], [1, 0]]


# What cannot be read


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_file_keeps_its_place_and_is_named(manifest: Manifest, num_workers: int) -> None:
    (manifest.root / "3.npy").write_bytes(b"damaged")
    (manifest.root / "5.npy").unlink()
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), 9, num_workers=num_workers) as loader:
        (batch,) = loader.eval_batches()
    assert batch.weight.tolist() == [1, 1, 1, 0, 1, 0, 1, 1, 1]
    assert not batch.clips[[3, 5]].any()
    assert all(clip.any() for clip in batch.clips[batch.weight > 0])
    assert batch.labels.tolist() == [0, 1] * 4 + [0]
    assert len(batch.failures) == 2
    for line, name in zip(batch.failures, ("3.npy", "5.npy"), strict=True):
        assert str(manifest.root / name) in line
        assert "\n" not in line


@pytest.mark.parametrize(("batch_size", "num_workers"), [(0, 0), (1, -1)])
def test_impossible_sizes_are_refused(manifest: Manifest, batch_size: int, num_workers: int) -> None:
    with pytest.raises(ConfigError):
        Loader(ClipDataset(manifest, PROTOCOL), batch_size, num_workers)
