"""Intervals that cover, verdicts that are rarely false, and sentences that say so: over thousands of simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tubelet.studies.statistics import (
    Pair,
    contrast,
    holm,
    is_shown,
    mean_interval,
    p_value,
    sentence,
    standard_error,
    superiority,
)

COMPARISONS = 6000
SEEDS = (3, 5, 10)


def simulated(num_seeds: int, difference: float, num_arms: int = 2) -> np.ndarray:
    """Values [comparisons, arms, seeds]: every seed shifts all arms alike, the arms differ in spread, and the first
    lies ``difference`` above the others."""
    rng = np.random.default_rng([num_seeds, num_arms, round(1000 * difference)])
    shared = rng.normal(0, 0.02, (COMPARISONS, 1, num_seeds))
    spread = np.linspace(0.01, 0.03, num_arms)[None, :, None]
    values = 0.8 + shared + rng.normal(0, 1, (COMPARISONS, num_arms, num_seeds)) * spread
    values[:, 0] += difference
    return values


@pytest.mark.parametrize("num_seeds", SEEDS)
@pytest.mark.parametrize("difference", [0.0, 0.01, 0.05])
def test_intervals_of_means_and_differences_cover_the_truth(num_seeds: int, difference: float) -> None:
    values = simulated(num_seeds, difference)
    for sample, truth in ((values[:, 0], 0.8 + difference), (values[:, 0] - values[:, 1], difference)):
        _, low, high = mean_interval(sample)
        coverage = np.mean((low <= truth) & (truth <= high))
        assert abs(coverage - 0.95) < 0.015


@pytest.mark.parametrize("num_seeds", SEEDS)
def test_intervals_cover_accuracies_that_are_shares_of_few_test_items(num_seeds: int) -> None:
    rng = np.random.default_rng(num_seeds)
    skill = rng.normal(0.78, 0.02, (COMPARISONS, 2, num_seeds))
    accuracy = rng.binomial(298, skill) / 298
    _, low, high = mean_interval(accuracy[:, 0] - accuracy[:, 1])
    assert abs(np.mean((low <= 0) & (high >= 0)) - 0.95) < 0.015


@pytest.mark.parametrize("num_seeds", SEEDS)
def test_false_verdicts_stay_below_five_percent(num_seeds: int) -> None:
    values = simulated(num_seeds, 0.0)
    differences = values[:, 0] - values[:, 1]
    shown = is_shown(p_value(differences), num_seeds)
    assert np.mean(shown & (differences.mean(axis=-1) > 0)) < 0.05
    assert np.mean(shown) < 0.05 + 0.015


def with_items(num_seeds: int, of_seeds: float, of_items: float, of_both: float) -> tuple[np.ndarray, ...]:
    """Differences [comparisons, seeds] of arms that are equal in truth, measured on test sets of 100 items, and the
    variances over items of their mean and of a single seed. The arguments are standard deviations: of a seed's skill,
    of how much an item favors one arm, and of the luck of a seed with an item."""
    rng = np.random.default_rng([num_seeds, round(1e4 * of_seeds), round(1e4 * of_items), round(1e4 * of_both)])
    seeds = rng.normal(0, of_seeds, (COMPARISONS, num_seeds, 1))
    items = rng.normal(0, of_items, (COMPARISONS, 1, 100))
    values = (seeds + items + rng.normal(0, of_both, (COMPARISONS, num_seeds, 100))).astype(np.float32)
    of_mean = values.mean(axis=1).var(axis=-1, ddof=1) / 100
    of_each = (values.var(axis=-1, ddof=1) / 100).mean(axis=-1)
    return values.mean(axis=-1), of_mean, of_each


@pytest.mark.parametrize("num_seeds", SEEDS)
@pytest.mark.parametrize(
    ("of_seeds", "of_items", "of_both"),
    [(0.02, 0.0, 0.1), (0.0, 0.3, 0.1), (0.02, 0.1, 0.3), (0.03, 0.15, 0.0), (0.01, 0.2, 0.5)],
    ids=["seeds", "items", "all alike", "seeds and items", "luck"],
)
def test_false_verdicts_stay_rare_where_seeds_and_items_both_err(
    num_seeds: int, of_seeds: float, of_items: float, of_both: float
) -> None:
    differences, of_mean, of_each = with_items(num_seeds, of_seeds, of_items, of_both)
    assert np.mean(p_value(differences, of_mean, of_each) < 0.05) < 0.05 + 0.015
    error, freedom = standard_error(differences, of_mean, of_each)
    half = stats.t.ppf(0.975, freedom) * error
    assert np.mean(np.abs(differences.mean(axis=-1)) <= half) > 0.95 - 0.015


@pytest.mark.parametrize("num_seeds", SEEDS)
def test_either_source_of_chance_alone_would_find_too_much(num_seeds: int) -> None:
    differences, of_mean, _ = with_items(num_seeds, 0.03, 0.15, 0.0)
    over_items = 2 * stats.norm.sf(np.abs(differences.mean(axis=-1)) / np.sqrt(of_mean))
    assert np.mean(over_items < 0.05) > 0.065
    assert np.mean(p_value(differences) < 0.05) > 0.065


@pytest.mark.parametrize("num_seeds", SEEDS)
def test_of_several_contrasts_a_false_one_is_as_rare_only_after_correction(num_seeds: int) -> None:
    values = simulated(num_seeds, 0.0, num_arms=6)
    differences = values[:, 1:] - values[:, :1]  # five contrasts with one arm
    p_values = p_value(differences)
    assert np.mean(is_shown(holm(p_values), num_seeds).any(axis=-1)) < 0.05 + 0.01
    assert np.mean(is_shown(p_values, num_seeds).any(axis=-1)) > 0.08


@pytest.mark.parametrize("num_seeds", SEEDS)
def test_a_difference_of_five_spreads_is_found(num_seeds: int) -> None:
    differences = np.random.default_rng(0).normal(0.1, 0.02, (COMPARISONS, num_seeds))
    assert np.mean(is_shown(p_value(differences), num_seeds)) > 0.9


def test_p_values_are_those_of_scipy() -> None:
    values = simulated(5, 0.01)[:50]
    ours = p_value(values[:, 0] - values[:, 1])
    np.testing.assert_allclose(ours, stats.ttest_rel(values[:, 0], values[:, 1], axis=-1).pvalue, rtol=1e-9)


def test_holm_is_the_textbook_example_and_keeps_order() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_superiority_counts_pairs_with_ties_as_one_half() -> None:
    assert superiority(np.array([1.0, 2.0]), np.array([0.0, 2.0])) == 0.625


def test_a_run_that_diverged_beats_none() -> None:
    assert superiority(np.array([1.0, -np.inf]), np.array([0.0, -np.inf])) == 0.625


def pair(
    first: list[float], second: list[float], items: np.ndarray | None = None, num_diverged: tuple[int, int] = (0, 0)
) -> Pair:
    return Pair(
        first="a",
        second="b",
        first_values=np.array(first),
        second_values=np.array(second),
        item_differences=None if items is None or not first else np.stack([items] * len(first), axis=1),
        num_diverged=num_diverged,
    )


FAR = ([0.90, 0.91, 0.92], [0.80, 0.815, 0.82])


def test_the_sign_of_a_verdict_follows_the_order_of_the_pair() -> None:
    assert [found.verdict for found in contrast([pair(*FAR)])] == ["better"]
    assert [found.verdict for found in contrast([pair(*reversed(FAR))])] == ["worse"]
    assert "a is worse than b: top1 -0.098" in sentence(contrast([pair(*reversed(FAR))])[0], "top1")


def test_a_difference_that_another_test_set_undoes_is_not_shown() -> None:
    rng = np.random.default_rng(0)
    (steady,) = contrast([pair(*FAR, rng.normal(0.1, 0.02, 2000))])
    (shaky,) = contrast([pair(*FAR, rng.normal(0.1, 0.1, 2000))])
    assert (steady.verdict, shaky.verdict) == ("better", "no difference shown")
    assert shaky.item_low is not None
    assert shaky.item_low < 0 < shaky.seed_low
    assert shaky.difference.low < 0 < steady.difference.low
    assert sentence(shaky, "top1").startswith("No difference shown between a and b: top1 +0.098 (95 % interval -0.")
    assert "over 3 seeds and the test items;" in sentence(shaky, "top1")


def test_an_arm_that_wins_where_it_does_not_diverge_is_not_called_better() -> None:
    (found,) = contrast([pair(*FAR, num_diverged=(2, 0))])
    assert (found.verdict, found.superiority) == ("no difference shown", 0.6)
    assert "over 3 seeds; seeds left out, for 2 runs of a diverged; p < 0.001" in sentence(found, "top1")
    (other,) = contrast([pair(*FAR, num_diverged=(0, 1))])
    assert other.verdict == "better"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (([0.9], [0.1]), "a single seed says nothing; run at least two seeds"),
        (([], []), "at every seed a run of one of them diverged"),
    ],
)
def test_fewer_than_two_seeds_conclude_nothing(values: tuple[list[float], list[float]], why: str) -> None:
    (found,) = contrast([pair(*values, np.full(2000, 0.8))])
    assert found.verdict == "not judged"
    assert f"not judged, for {why}." in sentence(found, "top1")


def test_identical_runs_show_no_difference() -> None:
    (found,) = contrast([pair([0.5, 0.6], [0.5, 0.6])])
    assert (found.verdict, found.corrected, found.superiority) == ("no difference shown", 1.0, 0.5)
