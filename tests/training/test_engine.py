"""The loop computes what its configuration says, and stops without losing what was done.

Volumes are as large as the clip, so that nothing is drawn at random: a batch of all videos is known by hand.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small_runs import CLASSES, PROTOCOL, write_volumes
from support import Notes
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, DataError, TubeletError
from tubelet.models import create_model
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.setup import TrainingSetup
from tubelet.training.state import resume
from tubelet.training.state.resume import TrainingState
from tubelet.training.step import step_seed

# Plain gradient descent in one step of size 1: the change of the weights is the gradient.
PLAIN = OptimizerConfig(name="sgd", lr=1.0, momentum=0.0, warmup_epochs=0.0, clip_grad_norm=None)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, len(CLASSES)))


def train(
    root: Path,
    run: Path,
    model: nn.Module,
    *,
    optim: OptimizerConfig = PLAIN,
    validate: Callable[[nn.Module], Mapping[str, Any]] | None = None,
    notes: Notes | None = None,
    batch_size: int = 12,
    num_epochs: int = 1,
    failure_budget: float = 0.01,
    **training: Any,
) -> TrainingState:
    run.mkdir(exist_ok=True)
    manifest = read_manifest(root, ManifestConfig(val_fraction=0.0, test_fraction=0.0))

    def save(path: Path) -> None:
        path.mkdir(exist_ok=True)
        torch.save(model.state_dict(), path / "weights.pt")

    setup = TrainingSetup(
        model=model,
        loader=Loader(ClipDataset(manifest, PROTOCOL, "train"), batch_size),
        prepare=lambda pixels: normalize(pixels, PROTOCOL),
        validate=validate,
        save=save,
        training=TrainingConfig(num_epochs=num_epochs, batch_size=batch_size, **training),
        optim=optim,
        failure_budget=failure_budget,
    )
    return fit(setup, run, Session(progress=notes or Notes()))


def whole_batch(root: Path, names: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
    """Pixels and labels of the named volumes, or of all, read without the loader."""
    files = [root / name for name in names] if names else sorted(root.glob("*/*.npy"))
    pixels = torch.stack([torch.from_numpy(np.load(file)) for file in files])
    labels = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    return pixels[:, None].float() / 127.5 - 1, labels


def loss_by_hand(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean over videos of -sum_k y_k log p_k with y = (1 - s) one-hot + s / K."""
    target = torch.full_like(logits, smoothing / len(CLASSES))
    target[torch.arange(len(labels)), labels] += 1 - smoothing
    return -(target * logits.log_softmax(1)).sum(1).mean()


def log_rows(run: Path, table: str = "log.csv") -> list[dict[str, str]]:
    with (run / table).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("accumulation", [1, 2, 5, 12])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_the_whole_batch_by_hand(
    tmp_path: Path, accumulation: int, smoothing: float
) -> None:
    root, model, expected = write_volumes(tmp_path / "data"), linear(), linear()
    train(root, tmp_path / "run", model, accumulation=accumulation, label_smoothing=smoothing)
    pixels, labels = whole_batch(root)
    loss = loss_by_hand(expected(pixels), labels, smoothing)
    loss.backward()
    (row,) = log_rows(tmp_path / "run")
    assert float(row["loss"]) == pytest.approx(loss.item(), abs=1e-6)
    assert float(row["top1"]) == pytest.approx((expected(pixels).argmax(1) == labels).float().mean().item())
    for before, after in zip(expected.parameters(), model.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(before - after, before.grad, atol=1e-6, rtol=0)


def test_a_batch_with_fewer_videos_than_parts_is_trained_on(tmp_path: Path) -> None:
    root, model, expected = write_volumes(tmp_path / "data", per_class=1), linear(), linear()
    train(root, tmp_path / "run", model, batch_size=8, accumulation=5)
    train(root, tmp_path / "whole", expected, batch_size=8)
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_video_that_cannot_be_read_has_no_influence_on_the_weights(tmp_path: Path) -> None:
    broken = ["a/0.npy", "b/2.npy", "c/3.npy"]
    root, model, expected = write_volumes(tmp_path / "data", broken=broken), linear(), linear()
    notes = Notes()
    progress = train(root, tmp_path / "run", model, accumulation=3, failure_budget=1.0, notes=notes)
    names = [f"{name}/{i}.npy" for name in CLASSES for i in range(4) if f"{name}/{i}.npy" not in broken]
    pixels, labels = whole_batch(root, names)
    loss = loss_by_hand(expected(pixels), labels, 0.0)
    loss.backward()
    assert float(log_rows(tmp_path / "run")[0]["loss"]) == pytest.approx(loss.item(), abs=1e-6)
    for before, after in zip(expected.parameters(), model.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(before - after, before.grad, atol=1e-6, rtol=0)
    assert sorted(progress.failed) == [0, 6, 11]
    for name in broken:
        assert sum(f"not used: {root / name}" in note for note in notes.notes) == 1


def test_more_unreadable_videos_than_the_budget_stop_the_run_with_their_names(tmp_path: Path) -> None:
    broken = ["a/0.npy", "b/2.npy", "c/3.npy"]
    root = write_volumes(tmp_path / "data", broken=broken)
    with pytest.raises(DataError) as stopped:
        train(root, tmp_path / "run", linear(), failure_budget=0.17)  # of 12 videos: 2.04
    said = str(stopped.value)
    assert said.startswith("3 of 12 training videos cannot be read, more than failure_budget=0.17 allows")
    assert all(str(root / name) in said for name in broken)
    assert "\n" not in said


def test_a_budget_of_nothing_stops_at_the_first_unreadable_video(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "data", broken=["b/1.npy"])
    train(root, tmp_path / "one may fail", linear(), failure_budget=0.01)
    with pytest.raises(DataError, match="1 of 12 training videos cannot be read"):
        train(root, tmp_path / "none may fail", linear(), failure_budget=0.0)


def test_a_video_counts_once_however_often_it_is_read(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "data", broken=["b/1.npy"])
    progress = train(root, tmp_path / "run", linear(), num_epochs=4, failure_budget=0.09)
    assert list(progress.failed) == [5]
    assert progress.num_read == 48


def test_every_epoch_says_how_much_of_it_was_waiting_for_data_and_the_log_counts_what_failed(tmp_path: Path) -> None:
    root, notes = write_volumes(tmp_path / "data", broken=["b/1.npy"]), Notes()
    train(root, tmp_path / "run", linear(), num_epochs=2, batch_size=4, notes=notes)
    said = [note for note in notes.notes if "of it waiting for data" in note]
    assert [note.partition(":")[0] for note in said] == ["epoch 1", "epoch 2"]
    assert [row["num_failed"] for row in log_rows(tmp_path / "run")][-1] == "1"
    (listed,) = log_rows(tmp_path / "run", "unreadable.csv")
    assert listed["path"] == "b/1.npy"


def test_a_run_stopped_by_its_budget_goes_on_where_it_stood_when_the_videos_are_back(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_epochs": 2, "failure_budget": 0.09}
    root = write_volumes(tmp_path / "data", broken=["a/0.npy"])
    uninterrupted = linear()
    train(root, tmp_path / "uninterrupted", uninterrupted, **options)

    write_volumes(root, broken=["a/0.npy", "c/1.npy"])
    with pytest.raises(DataError, match=r"2 of 12 training videos.*all of them.*run/unreadable\.csv"):
        train(root, tmp_path / "run", linear(), **options)
    done = torch.load(tmp_path / "run" / resume.FILE, weights_only=True)["progress"]["step"]
    assert [int(row["step"]) for row in log_rows(tmp_path / "run")] == list(range(1, done + 1))
    assert done > 0

    write_volumes(root, broken=["a/0.npy"])
    resumed = linear(seed=5)
    train(root, tmp_path / "run", resumed, **options)
    for one, other in zip(resumed.parameters(), uninterrupted.parameters(), strict=True):
        assert one.equal(other)
    assert [int(row["step"]) for row in log_rows(tmp_path / "run")] == list(range(1, 13))


class Breaks(nn.Module):
    """A linear model whose logits are not finite in one forward pass."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.inner, self.calls, self.at, self.value = linear(), 0, at, value

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.inner(pixels)
        return logits * self.value if self.calls == self.at else logits


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_before(tmp_path: Path, value: float) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    options: dict[str, Any] = {"batch_size": 1, "num_epochs": 1, "checkpoint_every_steps": 3}
    with pytest.raises(TubeletError) as stopped:
        train(root, run, Breaks(8, value), **options)
    said = str(stopped.value)
    assert "at step 8 (epoch 0, learning rate " in said
    assert "are not finite; the last checkpoint is untouched: start a new run and lower optim.lr" in said
    assert "set optim.clip_grad_norm 1.0" in said
    assert "\n" not in said
    state = torch.load(run / resume.FILE, weights_only=True)
    assert state["progress"]["step"] == 6
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert [int(row["step"]) for row in log_rows(run)] == [1, 2, 3, 4, 5, 6, 7]
    assert not (run / "best").exists()

    healthy, uninterrupted = Breaks(0, value), Breaks(0, value)
    train(root, run, healthy, **options)
    train(root, tmp_path / "uninterrupted", uninterrupted, **options)
    for one, other in zip(healthy.parameters(), uninterrupted.parameters(), strict=True):
        assert one.equal(other)
    assert [int(row["step"]) for row in log_rows(run)] == list(range(1, 13))


def test_bf16_trains_weights_that_stay_fp32(tmp_path: Path) -> None:
    root, model = write_volumes(tmp_path / "data"), linear()
    optim = OptimizerConfig(lr=0.03, warmup_epochs=0.0)
    train(root, tmp_path / "run", model, optim=optim, precision="bf16", num_epochs=40)
    rows = log_rows(tmp_path / "run")
    assert float(rows[-1]["loss"]) < 0.3 * float(rows[0]["loss"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    train(root, tmp_path / "exact", linear(), optim=optim, num_epochs=1)
    exact = float(log_rows(tmp_path / "exact")[0]["loss"])
    assert float(rows[0]["loss"]) != exact
    assert float(rows[0]["loss"]) == pytest.approx(exact, rel=0.02)


def test_gradients_are_clipped_to_a_global_norm_and_the_log_says_the_norm_before(tmp_path: Path) -> None:
    root, free, clipped = write_volumes(tmp_path / "data"), linear(), linear()
    limit = OptimizerConfig(name="sgd", lr=1.0, momentum=0.0, warmup_epochs=0.0, clip_grad_norm=0.01)
    train(root, tmp_path / "free", free)
    train(root, tmp_path / "clipped", clipped, optim=limit)
    norms = []
    for model in (free, clipped):
        pairs = zip(model.parameters(), linear().parameters(), strict=True)
        norms.append(math.sqrt(sum(float((one - other).detach().square().sum()) for one, other in pairs)))
    logged = [float(log_rows(tmp_path / name)[0]["grad_norm"]) for name in ("free", "clipped")]
    assert norms[0] == pytest.approx(logged[0], rel=1e-5)
    assert norms[1] == pytest.approx(0.01, rel=1e-3)
    assert logged[0] == logged[1] > 0.01


def test_the_first_step_has_rate_zero_and_the_last_comes_near_the_minimum(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "data")
    optim = OptimizerConfig(lr=0.5, min_lr=0.1, warmup_epochs=1.0)
    train(root, tmp_path / "run", linear(), optim=optim, batch_size=3, num_epochs=10)
    rates = [float(row["lr"]) for row in log_rows(tmp_path / "run")]
    assert rates[:5] == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0.1 < rates[-1] < 0.101


def scripted(values: Sequence[float | None], metric: str = "top1") -> Callable[[nn.Module], Mapping[str, Any]]:
    """A validation that measures these values in turn."""
    left = iter(values)

    def measure(model: nn.Module) -> Mapping[str, Any]:
        assert not model.training
        names = ("loss", "top1", "top5", "mean_class", "auroc", "calibration_error")
        return {**dict.fromkeys(names, 0.5), metric: next(left)}

    return measure


@pytest.mark.parametrize(
    ("metric", "values", "best_step"),
    [("top1", [0.2, 0.6, 0.6, 0.4], 2), ("loss", [0.9, 0.4, 0.3, 0.3], 3), ("auroc", [0.9, 0.8, 0.7, 0.95], 4)],
)
def test_best_holds_the_first_of_the_best_weights_and_last_the_last(
    tmp_path: Path, metric: str, values: list[float | None], best_step: int
) -> None:
    root, run, model = write_volumes(tmp_path / "data"), tmp_path / "run", linear()
    progress = train(root, run, model, num_epochs=4, best_metric=metric, validate=scripted(values, metric))
    assert (progress.best_step, progress.best) == (best_step, values[best_step - 1])
    assert [float(row[metric]) for row in log_rows(run, "validation.csv")] == values
    last, best = (torch.load(run / name / "weights.pt", weights_only=True) for name in ("last", "best"))
    for name, tensor in model.state_dict().items():
        assert tensor.equal(last[name])
        assert tensor.equal(best[name]) == (best_step == 4)


@pytest.mark.parametrize(("best_of_equals", "step"), [("lowest_loss", 3), ("first", 2)])
def test_of_equally_good_validations_the_one_with_the_lowest_loss_is_best_or_the_first_where_asked(
    tmp_path: Path, best_of_equals: Literal["lowest_loss", "first"], step: int
) -> None:
    losses = {1: 0.9, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.1}
    numbers, top1 = iter(losses.values()), iter([0.5, 1.0, 1.0, 1.0, 0.9])
    names = ("top5", "mean_class", "auroc", "calibration_error")

    def measure(model: nn.Module) -> Mapping[str, Any]:
        return {**dict.fromkeys(names, 0.5), "top1": next(top1), "loss": next(numbers)}

    progress = train(
        write_volumes(tmp_path / "data"),
        tmp_path / "run",
        linear(),
        num_epochs=5,
        best_of_equals=best_of_equals,
        validate=measure,
    )
    assert (progress.best, progress.best_loss, progress.best_step) == (1.0, losses[step], step)


def test_the_last_epoch_is_always_validated(tmp_path: Path) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    train(root, run, linear(), num_epochs=5, validate_every_epochs=2, validate=scripted([0.1, 0.2, 0.3]))
    assert [int(row["epoch"]) for row in log_rows(run, "validation.csv")] == [1, 3, 4]


def test_without_validation_the_last_weights_are_the_best(tmp_path: Path) -> None:
    root, model = write_volumes(tmp_path / "data"), linear()
    train(root, tmp_path / "run", model, num_epochs=2)
    for name in ("best", "last"):
        weights = torch.load(tmp_path / "run" / name / "weights.pt", weights_only=True)
        assert all(tensor.equal(weights[key]) for key, tensor in model.state_dict().items())


def test_a_best_metric_that_validation_cannot_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="best_metric=auroc is undefined on the validation split; use top1 or loss"):
        train(
            write_volumes(tmp_path / "data"),
            tmp_path / "run",
            linear(),
            best_metric="auroc",
            validate=scripted([None], "auroc"),
        )


def test_dropout_draws_differ_between_steps_and_seeds() -> None:
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(1000)}
    assert len(seeds) == 20_000


def test_dropout_does_not_depend_on_the_global_generator(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "data")
    options: dict[str, Any] = {"num_frames": 2, "image_size": (4, 4), "tubelet_size": (1, 2, 2), "in_channels": 1}
    results: list[dict[str, Tensor]] = []
    for name in ("one", "two"):
        torch.manual_seed(0)
        model = create_model(
            "vivit_ti16x2_avgpool", num_classes=3, embed_dim=8, depth=1, num_heads=2, drop_rate=0.5, **options
        )
        torch.manual_seed(len(results))
        optim = OptimizerConfig(lr=0.01, warmup_epochs=0.0)
        train(root, tmp_path / name, model, optim=optim, num_epochs=3)
        results.append(model.state_dict())
    assert all(tensor.equal(results[1][name]) for name, tensor in results[0].items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"checkpoint_every_steps": 0}, "checkpoint_every_steps must be at least 1"),
        ({"batch_size": 2, "accumulation": 3}, "accumulation 3 cuts a batch of 2 into nothing"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\)"),
    ],
)
def test_a_configuration_that_cannot_train_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**fields)


def test_what_is_noted_of_videos_is_said_once_for_its_kind_and_counted_after_an_epoch(tmp_path: Path) -> None:
    root, notes = write_volumes(tmp_path / "data"), Notes()
    for number in (0, 1):
        np.save(root / "a" / f"{number}.npy", np.zeros((1, 4, 4), dtype=np.uint8))
    train(root, tmp_path / "run", linear(), notes=notes, num_epochs=2, batch_size=5)
    first, count = [line for line in notes.notes if "looped" in line]
    assert re.fullmatch(r".*a/[01]\.npy: video has 1 frames, the clip spans 2: looped", first)
    assert count == "2 of 12 training videos: video has N frames, the clip spans N: looped"
