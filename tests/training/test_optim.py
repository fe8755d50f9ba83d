"""Weight decay, momentum and the schedule are those that the configuration names."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from support import tiny_model
from tubelet.errors import ConfigError
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer
from tubelet.training.optim.schedule import make_schedule


def test_weight_decay_pulls_on_matrices_only() -> None:
    model, _ = tiny_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, OptimizerConfig(weight_decay=0.1))
    decayed = {
        names[id(p)] for group in optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]
    }
    free = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert decayed | free == set(names.values())
    assert not decayed & free
    assert decayed == {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and not name.endswith(("pos_embed.table", "cls_token"))
    }
    for name in ("spatial_encoder.pos_embed.table", "spatial_encoder.cls_token", "head.bias"):
        assert name in free


def one_step(config: OptimizerConfig, gradients: list[float]) -> list[float]:
    """The value of one weight, at first 1, after each step with these gradients."""
    weight = nn.Parameter(torch.ones(1, 1))
    model = nn.ParameterDict({"weight": weight})
    optimizer = make_optimizer(model, config)
    values = []
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        values.append(weight.item())
    return values


def test_sgd_has_momentum_and_no_look_ahead() -> None:
    values = one_step(OptimizerConfig(name="sgd", lr=0.1, momentum=0.5), [1.0, 1.0, 0.0])
    # velocities 1, 0.5 + 1, 0.75; Nesterov's first step would be 1.5 long
    assert values == pytest.approx([0.9, 0.75, 0.675])


def test_weight_decay_of_sgd_is_part_of_the_gradient() -> None:
    assert one_step(OptimizerConfig(name="sgd", lr=0.1, momentum=0.0, weight_decay=0.5), [0.0]) == pytest.approx([0.95])


def test_adamw_has_the_two_momenta_and_decay_apart_from_the_gradient() -> None:
    config = OptimizerConfig(lr=0.1, weight_decay=0.5, momentum=0.8, second_momentum=0.9)
    first, second, weight, expected = 0.0, 0.0, 1.0, []
    for step, gradient in enumerate((2.0, -1.0), 1):
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
        weight -= 0.1 * 0.5 * weight
        weight -= 0.1 * (first / (1 - 0.8**step)) / (math.sqrt(second / (1 - 0.9**step)) + 1e-8)
        expected.append(weight)
    assert one_step(config, [2.0, -1.0]) == pytest.approx(expected)


def test_parameters_that_take_no_gradient_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    optimizer = make_optimizer(model, OptimizerConfig())
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(2,)]


def rates(num_epochs: int, steps_per_epoch: int, **fields: Any) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), OptimizerConfig(**fields))
    schedule = make_schedule(
        optimizer, OptimizerConfig(**fields), num_epochs=num_epochs, steps_per_epoch=steps_per_epoch
    )
    found = []
    for step in range(num_epochs * steps_per_epoch):
        schedule.step_update(step)
        (rate,) = {group["lr"] for group in optimizer.param_groups}
        found.append(rate)
    return found


def test_the_rate_rises_linearly_and_then_follows_one_cosine() -> None:
    found = rates(5, 8, lr=2.0, min_lr=0.5, warmup_epochs=0.5)
    rise = [2.0 * step / 4 for step in range(4)]
    fall = [0.5 + 1.5 * 0.5 * (1 + math.cos(math.pi * step / 36)) for step in range(36)]
    assert found == pytest.approx(rise + fall)


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert rates(2, 3, lr=1.0, warmup_epochs=0.0)[0] == 1.0


def test_a_warm_up_longer_than_the_run_still_reaches_no_more_than_the_peak() -> None:
    found = rates(1, 4, lr=1.0, warmup_epochs=50.0)
    assert found == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])


def test_the_rate_falls_by_steps_at_the_named_epochs() -> None:
    found = rates(15, 4, lr=0.5, warmup_epochs=0.0, step_epochs=(11.0, 14.5))
    assert found == pytest.approx([0.5] * 44 + [0.05] * 14 + [0.005] * 2)


def test_steps_follow_a_warm_up() -> None:
    found = rates(3, 4, lr=1.0, warmup_epochs=0.5, step_epochs=(2.0,), step_factor=0.5)
    assert found == pytest.approx([0.0, 0.5] + [1.0] * 6 + [0.5] * 4)


def test_nesterov_s_momentum_looks_ahead() -> None:
    plain = OptimizerConfig(name="sgd", lr=0.1, momentum=0.9)
    ahead = OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True)
    gradients = [1.0, 2.0]
    assert one_step(plain, gradients) == pytest.approx([0.9, 0.9 - 0.1 * (0.9 * 1 + 2)])
    assert one_step(ahead, gradients) == pytest.approx([1 - 0.1 * 1.9, 1 - 0.1 * 1.9 - 0.1 * (2 + 0.9 * (0.9 * 1 + 2))])


def test_a_fraction_of_a_warm_up_step_is_rounded_down() -> None:
    assert rates(4, 3, lr=1.0, warmup_epochs=0.9)[:3] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr must be positive and min_lr from 0 to lr, got lr=0.0"),
        ({"lr": 0.1, "min_lr": 0.2}, "got lr=0.1, min_lr=0.2"),
        ({"warmup_epochs": -1.0}, "must not be negative"),
        ({"weight_decay": -1.0}, "must not be negative"),
        ({"clip_grad_norm": 0.0}, "clip_grad_norm must be positive or none, got 0.0"),
        ({"momentum": 1.0}, "momentum"),
        ({"nesterov": True}, "nesterov is for sgd"),
        ({"step_epochs": (3.0, 2.0)}, "step_epochs must be positive and ascending"),
        ({"step_epochs": (2.0,), "warmup_epochs": 0.0, "step_factor": 0.0}, "step_factor must lie"),
        ({"step_epochs": (2.0,), "warmup_epochs": 3.0}, "step_epochs come after the warm-up"),
        ({"second_momentum": -0.1}, "second_momentum"),
    ],
)
def test_values_that_cannot_train_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**fields)
