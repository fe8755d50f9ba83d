"""Training runs of a fraction of a second: a linear model on volumes as large as the clip, so that nothing is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from support import Notes
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.protocol import Protocol
from tubelet.session.session import Session
from tubelet.session.signals import Signals
from tubelet.training.config import TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.setup import TrainingSetup
from tubelet.training.state.resume import TrainingState

PROTOCOL = Protocol(
    num_frames=2, frame_stride=1, resize_short_side=4, crop_size=(4, 4), num_channels=1, mean=(0.5,), std=(0.5,)
)
CLASSES = ("a", "b", "c")
ADAMW = OptimizerConfig(lr=0.01, warmup_epochs=0.0)
Measure = Callable[[nn.Module], Mapping[str, Any]]


def write_volumes(root: Path, per_class: int = 4, broken: Sequence[str] = ()) -> Path:
    """``root/<class>/N.npy``; those named in ``broken`` are no volumes."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            volume = np.random.default_rng([label, i]).integers(0, 256, (2, 4, 4), dtype=np.uint8)
            np.save(root / name / f"{i}.npy", volume)
    for name in broken:
        (root / name).write_bytes(b"not a volume")
    return root


class Small(nn.Module):
    """A linear model with the buffers of a BatchNorm: running means, and a count."""

    def __init__(self, seed: int = 0, num_classes: int = len(CLASSES)) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, num_classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(pixels.flatten(1)))
        return logits


def train_small(
    root: Path,
    run: Path,
    model: nn.Module,
    *,
    optim: OptimizerConfig = ADAMW,
    validate: Measure | None = None,
    notes: Notes | None = None,
    signals: Signals | None = None,
    save: Callable[[Path], None] | None = None,
    only: str | None = None,
    **training: Any,
) -> TrainingState:
    """Train ``model`` on the volumes below ``root``, or those of one class; by default three steps an epoch."""
    run.mkdir(exist_ok=True)
    manifest = read_manifest(root, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    if only is not None:
        manifest = replace(manifest, samples=tuple(s for s in manifest.samples if s.path.startswith(f"{only}/")))

    def write(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path / "weights.pt")

    config = TrainingConfig(**{"num_epochs": 1, "batch_size": 4, **training})
    with Loader(ClipDataset(manifest, PROTOCOL, "train"), config.batch_size) as loader:
        setup = TrainingSetup(
            model=model,
            loader=loader,
            prepare=lambda pixels: normalize(pixels, PROTOCOL),
            validate=validate,
            save=save or write,
            training=config,
            optim=optim,
        )
        return fit(setup, run, Session(progress=notes or Notes(), signals=signals or Signals()))


def scripted(
    values: Sequence[float], on_value: Callable[[int], None] = lambda number: None, *, metric: str = "top1"
) -> Measure:
    """A validation whose metric is these values in turn; ``on_value`` is told which comes, from 0."""
    left = iter(enumerate(values))

    def measure(model: nn.Module) -> Mapping[str, Any]:
        number, value = next(left)
        on_value(number)
        names = ("loss", "top1", "top5", "mean_class", "auroc", "calibration_error")
        return {**dict.fromkeys(names, 0.5), metric: value}

    return measure


def kept(run: Path, name: str) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint that ``train_small`` wrote."""
    weights: dict[str, torch.Tensor] = torch.load(run / name / "weights.pt", weights_only=True)
    return weights


def assert_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.equal(other[name]), name
