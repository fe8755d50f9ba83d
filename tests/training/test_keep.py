"""What stays of a run: the latest checkpoints, the best, the average of the weights; and when it ends early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from small_runs import Small, assert_equal, kept, scripted, train_small, write_volumes
from support import Notes, rows_of
from tubelet.errors import ConfigError
from tubelet.training.config import TrainingConfig
from tubelet.training.state.resume import FILE as STATE


class Killed(BaseException):
    """Nothing catches it."""


def kill_at(number: int) -> Any:
    def on_value(now: int) -> None:
        if now == number:
            raise Killed

    return on_value


def test_training_ends_when_no_validation_was_better_for_so_many_epochs(tmp_path: Path) -> None:
    root, run, notes = write_volumes(tmp_path / "data"), tmp_path / "run", Notes()
    values = [0.1, 0.5, 0.4, 0.5, 0.9, 0.9]
    progress = train_small(
        root, run, Small(), num_epochs=6, early_stopping_epochs=2, validate=scripted(values), notes=notes
    )
    assert (progress.step, progress.best_step) == (12, 6)
    assert [row["epoch"] for row in rows_of(run / "validation.csv")] == ["0", "1", "2", "3"]
    assert "no better validation in 2 epochs since step 6: training ends after epoch 4 of 6" in notes.notes
    again = train_small(root, run, Small(), num_epochs=6, early_stopping_epochs=2, validate=scripted([]))
    assert again.step == 12  # it is over: going on changes nothing


def test_a_killed_run_ends_early_where_the_uninterrupted_one_does(tmp_path: Path) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    options: dict[str, Any] = {"num_epochs": 6, "early_stopping_epochs": 2}
    values = [0.5, 0.4, 0.3, 0.9]
    train_small(root, tmp_path / "expected", expected := Small(), validate=scripted(values), **options)
    with pytest.raises(Killed):
        train_small(root, run, Small(), validate=scripted(values, kill_at(2)), **options)
    progress = train_small(root, run, resumed := Small(seed=1), validate=scripted([0.3, 0.9]), **options)
    assert progress.step == 9
    assert_equal(expected.state_dict(), resumed.state_dict())


def test_early_stopping_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="early_stopping_epochs waits for a better validation, and there is no"):
        train_small(write_volumes(tmp_path / "data"), tmp_path / "run", Small(), early_stopping_epochs=1)


def test_the_checkpoints_of_the_latest_validations_stay_beside_best_and_last(tmp_path: Path) -> None:
    root, run, model = write_volumes(tmp_path / "data"), tmp_path / "run", Small()
    train_small(root, run, model, num_epochs=4, keep_last_checkpoints=2, validate=scripted([0.4, 0.1, 0.2, 0.3]))
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000009", "step-00000012"]
    assert_equal(kept(run, "checkpoints/step-00000012"), model.state_dict())
    assert_equal(kept(run, "last"), model.state_dict())
    plain = tmp_path / "plain"
    train_small(root, plain, Small(), validate=scripted([0.4]))
    assert not (plain / "checkpoints").exists()


def average_by_hand(weights: list[torch.Tensor], decay: float) -> torch.Tensor:
    """After step s >= 2 the share min(decay, 1 - 1 / (1 + (s - 1) / 10)) of the average stays; the first is a copy."""
    average = weights[0].double()
    for step, tensor in enumerate(weights[1:], start=2):
        share = min(decay, 1 - 1 / (1 + (step - 1) / 10))
        average = share * average + (1 - share) * tensor.double()
    return average


def test_the_average_is_validated_and_kept_and_the_weights_train_on_as_without_it(tmp_path: Path) -> None:
    root, model, plain = write_volumes(tmp_path / "data"), Small(), Small()
    seen: list[dict[str, torch.Tensor]] = []
    after_steps: list[dict[str, torch.Tensor]] = []

    def remember(number: int) -> None:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    def remember_plain(number: int) -> None:
        after_steps.append({name: tensor.clone() for name, tensor in plain.state_dict().items()})

    # One step an epoch: the validation of the plain run shows the weights after every step.
    options: dict[str, Any] = {"num_epochs": 5, "batch_size": 12}
    values = [0.1, 0.2, 0.3, 0.2, 0.1]
    train_small(root, tmp_path / "run", model, ema_decay=0.2, validate=scripted(values, remember), **options)
    train_small(root, tmp_path / "plain", plain, validate=scripted(values, remember_plain), **options)
    assert_equal(model.state_dict(), plain.state_dict())
    for name in ("head.weight", "norm.running_mean"):
        for step in range(5):
            by_hand = average_by_hand([state[name] for state in after_steps[: step + 1]], 0.2)
            torch.testing.assert_close(seen[step][name].double(), by_hand, rtol=0, atol=1e-6)
        assert not seen[4][name].equal(plain.state_dict()[name])
    assert seen[4]["norm.num_batches_tracked"] == 5
    assert_equal(kept(tmp_path / "run", "best"), seen[2])
    assert_equal(kept(tmp_path / "run", "last"), seen[4])


def test_the_average_of_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    options: dict[str, Any] = {"num_epochs": 4, "ema_decay": 0.9, "checkpoint_every_steps": 2}
    train_small(root, tmp_path / "expected", expected := Small(), validate=scripted([0.1, 0.2, 0.3, 0.4]), **options)
    with pytest.raises(Killed):
        train_small(root, run, Small(), validate=scripted([0.1, 0.2, 0.3], kill_at(2)), **options)
    train_small(root, run, resumed := Small(seed=1), validate=scripted([0.3, 0.4]), **options)
    assert_equal(expected.state_dict(), resumed.state_dict())
    for name in ("best", "last"):
        assert_equal(kept(tmp_path / "expected", name), kept(run, name))
    states = [torch.load(folder / STATE, weights_only=True) for folder in (tmp_path / "expected", run)]
    assert_equal(states[0]["average"], states[1]["average"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"early_stopping_epochs": -1}, "early_stopping_epochs must not be negative, got -1"),
        ({"keep_last_checkpoints": -1}, "keep_last_checkpoints must not be negative, got -1"),
        ({"ema_decay": 1.0}, "ema_decay must lie between 0 and 1, or be none, got 1"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**fields)
