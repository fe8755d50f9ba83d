"""What makes a run worthless is said once, with its remedy; a healthy run is told nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_runs import ADAMW, Small, scripted, train_small, write_volumes
from support import Notes
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import Item
from tubelet.errors import ConfigError
from tubelet.training import engine
from tubelet.training.optim.config import OptimizerConfig


def warnings_of(tmp_path: Path, model: nn.Module, **options: Any) -> list[str]:
    notes = Notes()
    root = write_volumes(tmp_path / "data")
    train_small(root, tmp_path / "run", model, notes=notes, **options)
    return [note.removeprefix("warning: ") for note in notes.notes if note.startswith("warning: ")]


class Slow(Small):
    """Takes longer for a batch than reading one does, so that a run never waits for data for long."""

    def forward(self, pixels: Tensor) -> Tensor:
        time.sleep(0.05)
        return super().forward(pixels)


def test_a_healthy_run_is_told_nothing(tmp_path: Path) -> None:
    optim = OptimizerConfig(lr=0.01, warmup_epochs=1.0)
    assert warnings_of(tmp_path, Slow(), num_epochs=3, optim=optim, validate=scripted([0.1, 0.2, 0.3])) == []


def test_labels_that_are_all_the_same(tmp_path: Path) -> None:
    """Data with one class are refused when they are read; what a program selects from them is not."""
    (line,) = warnings_of(tmp_path, Slow(), only="b", num_epochs=2)
    assert line.startswith("labels are constant: every training video has 'b' as its label")
    assert "check the label column or the folders" in line


def test_a_learning_rate_of_zero_after_the_warm_up(tmp_path: Path) -> None:
    vanishing = OptimizerConfig(lr=0.01, warmup_epochs=0.0, step_epochs=(1.0,), step_factor=1e-20)
    (line,) = warnings_of(tmp_path, Slow(), num_epochs=3, optim=vanishing)
    assert line.startswith("the learning rate is 1e-22 at step 4: the weights stay as they are; raise optim.lr (0.01)")
    assert "optim.step_factor" in line


def test_a_warm_up_as_long_as_the_run(tmp_path: Path) -> None:
    (line,) = warnings_of(tmp_path, Slow(), num_epochs=2, optim=OptimizerConfig(lr=0.01, warmup_epochs=2.0))
    assert line.startswith("the warm-up is as long as the run (optim.warmup_epochs=2, training.num_epochs=2)")


class Deaf(Slow):
    """Its logits do not depend on its parameters' values: a constant, with gradients of zero."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) * 0.0


def test_gradients_of_zero(tmp_path: Path) -> None:
    (line,) = warnings_of(tmp_path, Deaf(), num_epochs=5)
    assert line.startswith("the gradient was zero in 10 steps up to step 10: nothing learns")


def test_everything_frozen_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="everything is frozen: none of the parameters of Small takes a gradient"):
        warnings_of(tmp_path, Small().requires_grad_(False))
    assert not (tmp_path / "run" / "log.csv").exists()


def test_waiting_for_data_more_than_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClipDataset.read

    def slow(self: ClipDataset, index: int, epoch: int = 0) -> Item:
        time.sleep(0.05)
        return original(self, index, epoch)

    monkeypatch.setattr(ClipDataset, "read", slow)
    (line,) = warnings_of(tmp_path, Small(), num_epochs=3)
    assert "of the time went by waiting for data: raise data.num_workers (0)" in line
    assert "`tubelet data bench`" in line


def test_waiting_is_said_within_a_long_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClipDataset.read

    def slow(self: ClipDataset, index: int, epoch: int = 0) -> Item:
        time.sleep(0.05)
        return original(self, index, epoch)

    monkeypatch.setattr(ClipDataset, "read", slow)
    monkeypatch.setattr(engine, "EARLY_STEPS", 20)
    notes, root = Notes(), write_volumes(tmp_path / "data", per_class=16)
    train_small(root, tmp_path / "run", Small(), notes=notes, batch_size=2)  # 24 steps
    waiting, epoch = [note for note in notes.notes if "waiting for data" in note]
    assert waiting.startswith("warning: ")
    assert epoch.startswith("epoch 1: ")


@pytest.mark.parametrize(
    ("optim", "precision", "remedies"),
    [
        (
            ADAMW,
            "bf16",
            "start a new run and lower optim.lr, lengthen optim.warmup_epochs, use training.precision fp32",
        ),
        (
            OptimizerConfig(lr=0.01, warmup_epochs=0.0, clip_grad_norm=None),
            "fp32",
            "start a new run and lower optim.lr, lengthen optim.warmup_epochs, set optim.clip_grad_norm 1.0",
        ),
    ],
)
def test_a_loss_that_is_not_finite_names_the_remedies_that_are_left(
    tmp_path: Path, optim: OptimizerConfig, precision: str, remedies: str
) -> None:
    model = Small()
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(Exception, match="are not finite") as caught:
        warnings_of(tmp_path, model, optim=optim, precision=precision)
    assert remedies in str(caught.value)
