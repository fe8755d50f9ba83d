"""Numbers of a report: units, rounding, and the interval of an accuracy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.report import numbers
from tubelet.report.plots import MAX_POINTS, averaged, group_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.percent(0.8437), "84.4 %"),
        (numbers.percent(None), "–"),
        (numbers.decimal(math.nan), "–"),
        (numbers.count(1, "video"), "1 video"),
        (numbers.count(2000, "video"), "2,000 videos"),
        (numbers.parameters(999), "999"),
        (numbers.parameters(88_900_000), "88.9 M"),
        (numbers.duration(3.21), "3.2 s"),
        (numbers.duration(59.7), "1 min 0 s"),
        (numbers.duration(7800.0), "2 h 10 min"),
    ],
)
def test_numbers_carry_their_unit(text, expected):
    assert text.replace(numbers.SPACE, " ") == expected


def test_wilson_interval_matches_the_textbook():
    # 81 of 263, Newcombe 1998, Statistics in Medicine 17:857, table I: 0.2553 to 0.3662.
    low, high = numbers.wilson_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_interval_holds_the_share_and_stays_in_range(num_trials, share):
    low, high = numbers.wilson_interval(share, num_trials)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000))
def test_averaging_keeps_the_mean_and_bounds_the_points(values):
    means = averaged(values)
    sizes = [min(group_size(len(values)), len(values) - i) for i in range(0, len(values), group_size(len(values)))]
    assert len(means) <= MAX_POINTS
    assert sum(m * n for m, n in zip(means, sizes, strict=True)) == pytest.approx(sum(values), rel=1e-9, abs=1e-3)
