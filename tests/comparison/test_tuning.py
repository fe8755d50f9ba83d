"""The same budget for every arm: the grid grows for all, and the choice follows the runs alone."""

from __future__ import annotations

import math

from tubelet.studies.arms import Tuning
from tubelet.studies.tuning import Choice, TuningGrid, choose, extended, settings_of, text_of

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
TUNING = Tuning(grid={"optim.lr": RATES}, max_extensions=2)
GRID: TuningGrid = {"optim.lr": RATES}


def chosen(*scores: list[float | None], grid: TuningGrid = GRID) -> Choice:
    return choose(grid, dict(zip(settings_of(grid), scores, strict=True)))


def test_the_best_mean_wins_and_looks_are_counted() -> None:
    choice = chosen([0.5, 0.6], [0.7, 0.7], [0.9, 0.4], [0.1, 0.2])
    assert dict(choice.setting) == {"optim.lr": 3e-4}
    assert (choice.num_runs, choice.num_diverged, choice.at_edge) == (8, 0, ())


def test_a_setting_that_diverged_once_stands_behind_all_that_never_did() -> None:
    choice = chosen([0.5, 0.5], [0.4, 0.4], [0.99, None], [None, None])
    assert dict(choice.setting) == {"optim.lr": 1e-4}
    assert choice.num_diverged == 3
    everything = chosen([None], [None], [None], [None])
    assert math.isnan(everything.score)


def test_of_equals_the_lowest_values_are_taken() -> None:
    assert dict(chosen([0.5], [0.5], [0.5], [0.5]).setting) == {"optim.lr": 1e-4}


def test_a_best_value_at_an_edge_of_one_arm_extends_the_grid_for_all() -> None:
    high, middle = chosen([0.1], [0.2], [0.3], [0.4]), chosen([0.1], [0.4], [0.3], [0.2])
    assert high.at_edge == ("optim.lr",)
    assert extended(GRID, TUNING, [middle, high]) == {"optim.lr": (*RATES, 9e-3)}
    assert extended(GRID, TUNING, [middle, middle]) == GRID
    low = chosen([0.4], [0.2], [0.3], [0.1])
    assert extended(GRID, TUNING, [low, high]) == {"optim.lr": (3.333e-5, *RATES, 9e-3)}


def test_the_grid_grows_so_far_and_no_farther_and_the_edge_is_flagged() -> None:
    grid = GRID
    for _ in range(5):
        ever_higher = chosen(*([float(i)] for i in range(len(grid["optim.lr"]))), grid=grid)
        grid = extended(grid, TUNING, [ever_higher])
    assert grid == {"optim.lr": (*RATES, 9e-3, 2.7e-2)}
    assert ever_higher.at_edge == ("optim.lr",)


def test_axes_that_are_not_named_stay_and_are_flagged() -> None:
    grid: TuningGrid = {"optim.lr": RATES, "optim.weight_decay": (0.0, 0.05, 0.1)}
    tuning = Tuning(grid=grid)
    inside = chosen(*([float(i == 5)] for i in range(12)), grid=grid)  # 3e-4 and 0.1
    assert dict(inside.setting) == {"optim.lr": 3e-4, "optim.weight_decay": 0.1}
    assert inside.at_edge == ("optim.weight_decay",)
    assert extended(grid, tuning, [inside]) == grid


def test_settings_multiply_and_have_short_names() -> None:
    settings = settings_of({"optim.lr": (1e-4, 1e-3), "optim.weight_decay": (0.0, 0.1)})
    assert list(map(text_of, settings)) == [
        "lr=0.0001,weight_decay=0",
        "lr=0.0001,weight_decay=0.1",
        "lr=0.001,weight_decay=0",
        "lr=0.001,weight_decay=0.1",
    ]
