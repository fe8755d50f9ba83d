"""Mixup and cutmix in the loop: the loss is that of mixed labels, and a video nobody could read mixes into none."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from tubelet.data.clips.augment_config import AugmentConfig, MixConfig
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.mixing import draw_mixture
from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol
from tubelet.recipe import DataConfig, Recipe
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.setup import TrainingSetup
from tubelet.types import Batch

PROTOCOL = Protocol(
    num_frames=2, frame_stride=1, resize_short_side=8, crop_size=(8, 8), num_channels=1, mean=(0.5,), std=(0.5,)
)
# Plain gradient descent in one step of size 1: the change of the weights is the gradient.
PLAIN = OptimizerConfig(name="sgd", lr=1.0, momentum=0.0, warmup_epochs=0.0, clip_grad_norm=None)
SMOOTHING = 0.1
MIXES = [MixConfig(mixup=0.8), MixConfig(cutmix=1.0), MixConfig(mixup=0.8, partner="reversed")]


def loader(root: Path, count: int = 8, broken: tuple[int, ...] = ()) -> Loader:
    for row in range(count):
        pixels = np.random.default_rng(row).integers(0, 256, (2, 8, 8), dtype=np.uint8)
        np.save(root / f"{row}.npy", pixels)
        if row in broken:
            (root / f"{row}.npy").write_bytes(b"not a volume")
    rows = tuple(Sample(path=f"{row}.npy", labels=(row % 3,), split="train") for row in range(count))
    manifest = Manifest(root=root, samples=rows, class_names={"label": ("a", "b", "c")}, layout="files")
    return Loader(ClipDataset(manifest, PROTOCOL, seed=3), count, seed=3)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 3))


def train(batches: Loader, run: Path, mix: MixConfig, accumulation: int) -> tuple[nn.Module, dict[str, str]]:
    """The model after one step, and the step's row of the log."""
    run.mkdir()
    setup = TrainingSetup(
        model=linear(),
        loader=batches,
        prepare=lambda pixels: normalize(pixels, PROTOCOL),
        validate=None,
        save=lambda path: path.mkdir(exist_ok=True),
        training=TrainingConfig(num_epochs=1, batch_size=8, accumulation=accumulation, label_smoothing=SMOOTHING),
        optim=PLAIN,
        seed=3,
        mix=mix,
        failure_budget=1.0,
    )
    fit(setup, run, Session())
    with (run / "log.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    return setup.model, row


def by_hand(batch: Batch, mix: MixConfig) -> tuple[Tensor, Tensor]:
    """Pixels and soft labels of the readable videos, mixed one by one."""
    mixture = draw_mixture(mix, batch.weight, (8, 8), keyed_generator(3, 0, 0, 0, 0))
    pixels, labels = normalize(batch.clips, PROTOCOL), nnf.one_hot(batch.labels, 3).float()
    read = [row for row in range(len(batch.index)) if batch.weight[row] > 0]
    mixed = []
    for row in read:
        clip, partner = pixels[row].clone(), pixels[int(mixture.partner[row])]
        if mixture.box is None:
            clip = mixture.share * clip + (1 - mixture.share) * partner
        else:
            top, left, height, width = mixture.box
            box = (..., slice(top, top + height), slice(left, left + width))
            clip[box] = partner[box]
        mixed.append(clip)
    shared = mixture.share * labels + (1 - mixture.share) * labels[mixture.partner]
    return torch.stack(mixed), shared[read]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("broken", [(), (2, 5)])
def test_a_step_is_the_gradient_of_the_cross_entropy_against_mixed_labels(
    tmp_path: Path, mix: MixConfig, accumulation: int, broken: tuple[int, ...]
) -> None:
    """With videos that cannot be read, as if these were not in the batch."""
    batches = loader(tmp_path, broken=broken)
    model, row = train(batches, tmp_path / "run", mix, accumulation)
    (batch,) = batches.train_batches(0)
    clips, target = by_hand(batch, mix)
    assert len(clips) == 8 - len(broken)
    expected = linear()
    logits = expected(clips)
    smoothed = (1 - SMOOTHING) * target + SMOOTHING / 3
    loss = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    loss.backward()
    assert float(row["loss"]) == pytest.approx(loss.item(), abs=1e-5)
    shares_of_the_likeliest = target[torch.arange(len(target)), logits.argmax(1)]
    assert float(row["top1"]) == pytest.approx(shares_of_the_likeliest.mean().item(), abs=1e-5)
    for before, after in zip(expected.parameters(), model.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(before - after, before.grad, atol=1e-5, rtol=0)


def test_a_recipe_that_mixes_needs_more_than_one_video_in_a_batch() -> None:
    recipe = Recipe(model={"name": "vivit_ti16x2_fe"}, data=DataConfig(source="videos"))
    mixed = dataclasses.replace(recipe, augment=AugmentConfig(mix=MixConfig(mixup=0.3)))
    with pytest.raises(ConfigError, match="partners"):
        dataclasses.replace(mixed, training=dataclasses.replace(recipe.training, batch_size=1))
