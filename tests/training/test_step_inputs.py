"""A training step hands the numbers of the frames to a model that takes them, whatever portions it computes in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from small_runs import ADAMW, CLASSES, PROTOCOL
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.setup import TrainingSetup


class Listening(nn.Module):
    """Keeps the frame numbers it was called with, and the first pixel of each frame."""

    takes_frame_numbers = True

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2 * 16, len(CLASSES))
        self.numbers: list[list[int]] = []
        self.first_pixels: list[list[float]] = []

    def forward(self, clip: Tensor, position: Tensor) -> Tensor:
        self.numbers += position.tolist()
        self.first_pixels += clip[:, 0, :, 0, 0].tolist()
        logits: Tensor = self.head(clip.flatten(1))
        return logits


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_model_is_told_which_frames_of_the_source_it_sees(tmp_path: Path, accumulation: int) -> None:
    for i, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for k in range(2):
            # The value of a slice is its number, and forty times which volume it is of.
            volume = np.arange(7, dtype=np.uint8)[:, None, None] + np.uint8(40 * (2 * i + k))
            np.save(tmp_path / name / f"{k}.npy", np.broadcast_to(volume, (7, 4, 4)).copy())
    protocol = replace(PROTOCOL, frame_stride=3, mean=(0.0,), std=(1.0,))
    manifest = read_manifest(tmp_path, ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    model, run = Listening(), tmp_path / "run"
    run.mkdir()
    with Loader(ClipDataset(manifest, protocol, "train"), 6) as loader:
        setup = TrainingSetup(
            model=model,
            loader=loader,
            prepare=lambda pixels: normalize(pixels, protocol),
            validate=None,
            save=lambda path: None,
            training=TrainingConfig(num_epochs=2, batch_size=6, accumulation=accumulation),
            optim=ADAMW,
        )
        fit(setup, run, Session())
    assert len(model.numbers) == 12
    shown = [[round(255 * value) % 40 for value in clip] for clip in model.first_pixels]
    assert model.numbers == [[number - clip[0] for number in clip] for clip in shown]
    assert model.numbers[0] == [0, 3]
    assert len({clip[0] for clip in shown}) > 1, "clips should start at different slices"
