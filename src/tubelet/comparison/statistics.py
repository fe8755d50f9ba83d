"""What several runs of two arms say: intervals, paired differences, and a verdict that counts how often one looks.

Intervals are 95 % and two-sided: over seeds from Student's t distribution, over test items from the bootstrap (see
``tubelet.comparison.items``). Several contrasts of one comparison are corrected together by Holm's step-down method
(Scandinavian Journal of Statistics 6, 1979). The probability of superiority is that of Mann and Whitney, ties counting
one half. Everything is vectorized over leading axes, so that thousands of simulated comparisons can be judged at once.

    S  seeds   M  contrasts judged together   ...  comparisons
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95  # of every interval
ALPHA = 1 - LEVEL  # chance of a false verdict among the contrasts judged together

Verdict = Literal["better", "worse", "no difference shown", "not judged"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval; the bounds are NaN where there are fewer than two values."""

    mean: float
    low: float
    high: float
    num_values: int


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What one pair of arms says. Differences are first minus second, turned so that positive means better."""

    first: str
    second: str
    difference: Interval  # over seeds, paired
    item_low: float | None  # 95 % interval of the difference over test items; none: not known
    item_high: float | None
    superiority: float  # chance that a run of the first is better than one of the second
    p_value: float  # before correction: the larger of the one over seeds and the one over items
    corrected: float  # after Holm's correction for all contrasts of the comparison
    verdict: Verdict


def mean_interval(
    values: Float[np.ndarray, "*comparisons S"],
) -> tuple[Float[np.ndarray, "*comparisons"], Float[np.ndarray, "*comparisons"], Float[np.ndarray, "*comparisons"]]:
    """Mean over the last axis and its 95 % t interval (mean, low, high); NaN bounds for fewer than two values."""
    num = values.shape[-1]
    mean = np.asarray(values.mean(axis=-1)) if num else np.full(values.shape[:-1], np.nan)
    if num < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = stats.t.ppf(0.5 + LEVEL / 2, num - 1) * values.std(axis=-1, ddof=1) / np.sqrt(num)
    return mean, np.asarray(mean - half), np.asarray(mean + half)


def p_value_over_seeds(differences: Float[np.ndarray, "*comparisons S"]) -> Float[np.ndarray, "*comparisons"]:
    """Two-sided p of the paired t test that the mean difference is zero; 1 for fewer than two seeds.

    Differences that are all the same have no spread to judge by: p is then 1 if they are zero, else 0.
    """
    num = differences.shape[-1]
    if num < 2:
        return np.ones(differences.shape[:-1])
    mean = np.asarray(differences.mean(axis=-1))
    error = np.asarray(differences.std(axis=-1, ddof=1)) / np.sqrt(num)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    return np.asarray(2 * stats.t.sf(t, num - 1))


def holm(p_values: Float[np.ndarray, "*comparisons M"]) -> Float[np.ndarray, "*comparisons M"]:
    """p values after Holm's correction for the M contrasts along the last axis."""
    num = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1, kind="stable")
    weighted = np.take_along_axis(p_values, order, axis=-1) * (num - np.arange(num))
    stepped = np.minimum(np.maximum.accumulate(weighted, axis=-1), 1.0)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, stepped, axis=-1)
    return corrected


def is_shown(corrected: Float[np.ndarray, "*comparisons"], num_seeds: int) -> Bool[np.ndarray, "*comparisons"]:
    """Whether a difference counts as shown: never by a single seed."""
    return np.asarray((corrected < ALPHA) & (num_seeds > 1))


def superiority(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Chance that a value of ``first`` is above one of ``second``, ties one half; NaN without values."""
    if not len(first) or not len(second):
        return float("nan")
    above = first[:, None] - second[None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def interval_of(values: NDArray[np.float64]) -> Interval:
    """``mean_interval`` of one arm's values."""
    mean, low, high = mean_interval(values)
    return Interval(mean=float(mean), low=float(low), high=float(high), num_values=len(values))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms to be contrasted: one value per seed, in the same order of seeds, larger being better."""

    first: str
    second: str
    first_values: NDArray[np.float64]
    second_values: NDArray[np.float64]
    item_differences: NDArray[np.float64] | None = None  # of resampled test sets, first minus second; none: not known


def contrast(pairs: list[Pair]) -> list[Contrast]:
    """Judge the pairs of one comparison together.

    A difference is shown when it stands out over seeds and over test items alike: the p value of a pair is the larger
    of the two, which keeps the level of both. Seeds alone would call a difference real that another test set undoes.
    """
    if not pairs:
        return []
    p_values = np.array([_p_value(pair) for pair in pairs])
    return [_judged(pair, float(p), float(q)) for pair, p, q in zip(pairs, p_values, holm(p_values), strict=True)]


def _p_value(pair: Pair) -> float:
    over_seeds = float(p_value_over_seeds(pair.first_values - pair.second_values))
    if pair.item_differences is None:
        return over_seeds
    resampled = pair.item_differences
    tail = min((resampled <= 0).sum(), (resampled >= 0).sum()) + 1  # + 1: the data themselves are one sample
    return max(over_seeds, min(1.0, 2 * float(tail) / (len(resampled) + 1)))


def _judged(pair: Pair, p_value: float, corrected: float) -> Contrast:
    differences = pair.first_values - pair.second_values
    difference = interval_of(differences)
    verdict: Verdict = "no difference shown"
    if len(differences) < 2:
        verdict = "not judged"
    elif is_shown(np.asarray(corrected), len(differences)):
        verdict = "better" if difference.mean > 0 else "worse"
    low, high = (
        (None, None)
        if pair.item_differences is None
        else np.quantile(pair.item_differences, [ALPHA / 2, 1 - ALPHA / 2]).tolist()
    )
    return Contrast(
        first=pair.first,
        second=pair.second,
        difference=difference,
        item_low=low,
        item_high=high,
        superiority=superiority(pair.first_values, pair.second_values),
        p_value=p_value,
        corrected=corrected,
        verdict=verdict,
    )


def sentence(found: Contrast, metric: str) -> str:
    """The conclusion of one contrast in words, with its numbers."""
    num, d = found.difference.num_values, found.difference
    if found.verdict == "not judged":
        seeds = "no run" if num == 0 else "a single seed"
        return f"{found.first} against {found.second}: not judged, for {seeds} says nothing; run at least two seeds."
    words = {"better": "is better than", "worse": "is worse than"}.get(found.verdict)
    start = (
        f"{found.first} {words} {found.second}"
        if words
        else f"No difference shown between {found.first} and {found.second}"
    )
    items = (
        f", {found.item_low:+.3f} to {found.item_high:+.3f} over test items"
        if found.item_low is not None and found.item_high is not None
        else ""
    )
    return (
        f"{start}: {metric} {d.mean:+.3f} (95 % interval {d.low:+.3f} to {d.high:+.3f} over {num} seeds{items}; "
        f"p = {found.corrected:.3f} after correction; a run of {found.first} beats one of {found.second} with "
        f"probability {found.superiority:.2f})."
    )
