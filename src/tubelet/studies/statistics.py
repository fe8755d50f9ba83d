"""What several runs of two arms say: intervals, paired differences, and a verdict that counts how often one looks.

Intervals are 95 % and two-sided. A difference between two arms has two sources of chance: the seeds that were run, and
the items that happen to be in the test split (resampled in ``tubelet.studies.items``). Each has an interval of its
own; the verdict comes from both together, a t test on their variances (``standard_error``) with Welch and
Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946). Neither alone would do: another test set, or another
seed, undoes what only one of them shows, and asking both one after the other finds too much where both are large.

Several contrasts on one dataset are corrected together by Holm's step-down method (Scandinavian Journal of Statistics
6, 1979). The probability of superiority is that of Mann and Whitney, ties counting one half. What decides a verdict is
vectorized over leading axes, so that thousands of simulated comparisons can be judged at once.

    S  seeds   R  resampled test sets   M  contrasts judged together   ...  comparisons
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
    difference: Interval  # paired by seed; its 95 % interval over seeds and test items together
    seed_low: float  # 95 % interval over seeds alone; NaN for fewer than two
    seed_high: float
    item_low: float | None  # 95 % interval over test items alone; None means that it is not known
    item_high: float | None
    superiority: float  # chance that a run of the first is better than one of the second; one that diverged never is
    num_diverged: tuple[int, int]  # runs of each; their seeds are left out of the difference
    p_value: float  # before correction
    corrected: float  # after Holm's correction for all contrasts on the dataset
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


def standard_error(
    differences: Float[np.ndarray, "*comparisons S"],
    items_of_mean: Float[np.ndarray, "*comparisons"] | float = 0.0,
    items_of_each: Float[np.ndarray, "*comparisons"] | float = 0.0,
) -> tuple[Float[np.ndarray, "*comparisons"], Float[np.ndarray, "*comparisons"]]:
    """Standard error of the mean of paired differences, and its degrees of freedom.

    Args:
        differences: of each seed; at least two.
        items_of_mean: variance of their mean over resampled test sets; 0: the test items are all there are.
        items_of_each: the same of a single seed, mean over the seeds.

    What seeds and items do together (a seed that is good on these very items) is in the variance over seeds and in the
    one over items: the excess of ``items_of_each`` tells it, and it is counted once. The error is never smaller than
    that of either source alone.
    """
    num = differences.shape[-1]
    over_seeds = np.asarray(differences.var(axis=-1, ddof=1)) / num
    of_mean, of_each = np.asarray(items_of_mean), np.asarray(items_of_each)
    twice = np.maximum(of_each - of_mean, 0.0) / (num - 1)
    variance = np.maximum(np.maximum(over_seeds, of_mean), over_seeds + of_mean - twice)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(over_seeds > 0, (num - 1) * (variance / over_seeds) ** 2, np.inf)
    return np.asarray(np.sqrt(variance)), np.asarray(freedom)


def p_value(
    differences: Float[np.ndarray, "*comparisons S"],
    items_of_mean: Float[np.ndarray, "*comparisons"] | float = 0.0,
    items_of_each: Float[np.ndarray, "*comparisons"] | float = 0.0,
) -> Float[np.ndarray, "*comparisons"]:
    """Two-sided p that the mean difference is zero; 1 for fewer than two seeds. Arguments as ``standard_error``.

    Differences that are all the same have no spread to judge by: without items p is then 1 if they are zero, else 0.
    """
    if differences.shape[-1] < 2:
        return np.ones(differences.shape[:-1])
    mean = np.asarray(differences.mean(axis=-1))
    error, freedom = standard_error(differences, items_of_mean, items_of_each)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    return np.asarray(2 * stats.t.sf(t, freedom))


def difference_interval(
    differences: Float[np.ndarray, " S"], items_of_mean: float = 0.0, items_of_each: float = 0.0
) -> tuple[float, float]:
    """95 % interval of the mean difference, that of ``p_value``; NaN for fewer than two seeds."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    error, freedom = standard_error(differences, items_of_mean, items_of_each)
    half, mean = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * error), float(differences.mean())
    return mean - half, mean + half


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
    return float(((first[:, None] > second) + 0.5 * (first[:, None] == second)).mean())


def interval_of(values: NDArray[np.float64]) -> Interval:
    """``mean_interval`` of one arm's values."""
    mean, low, high = mean_interval(values)
    return Interval(mean=float(mean), low=float(low), high=float(high), num_values=len(values))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms to be contrasted: a value per seed at which neither diverged, in the same order; larger is better."""

    first: str
    second: str
    first_values: NDArray[np.float64]
    second_values: NDArray[np.float64]
    item_differences: Float[np.ndarray, "R S"] | None = None  # of resampled test sets, first minus second
    num_diverged: tuple[int, int] = (0, 0)  # runs of each arm that have no value

    @property
    def differences(self) -> NDArray[np.float64]:
        """First minus second, of each seed."""
        return self.first_values - self.second_values

    @property
    def item_variances(self) -> tuple[float, float]:
        """Of the difference over resampled test sets: of its mean over seeds, and of one seed."""
        found = self.item_differences
        if found is None:
            return 0.0, 0.0
        return float(found.mean(axis=1).var(ddof=1)), float(found.var(axis=0, ddof=1).mean())


def contrast(pairs: list[Pair]) -> list[Contrast]:
    """Judge the pairs of one dataset together."""
    if not pairs:
        return []
    p_values = np.array([p_value(pair.differences, *pair.item_variances) for pair in pairs])
    return [_judged(pair, float(p), float(q)) for pair, p, q in zip(pairs, p_values, holm(p_values), strict=True)]


def _judged(pair: Pair, p: float, corrected: float) -> Contrast:
    differences = pair.differences
    over_seeds = interval_of(differences)
    low, high = difference_interval(differences, *pair.item_variances)
    verdict: Verdict = "no difference shown"
    if len(differences) < 2:
        verdict = "not judged"
    elif is_shown(np.asarray(corrected), len(differences)):
        verdict = "better" if over_seeds.mean > 0 else "worse"
        winner = 0 if verdict == "better" else 1
        if pair.num_diverged[winner] > pair.num_diverged[1 - winner]:
            verdict = "no difference shown"  # it wins where it does not fail, and fails more often
    items = pair.item_differences
    item_low, item_high = (
        (None, None) if items is None else np.quantile(items.mean(axis=1), [ALPHA / 2, 1 - ALPHA / 2]).tolist()
    )
    lost = [np.full(num, -np.inf) for num in pair.num_diverged]
    return Contrast(
        first=pair.first,
        second=pair.second,
        difference=Interval(mean=over_seeds.mean, low=low, high=high, num_values=len(differences)),
        seed_low=over_seeds.low,
        seed_high=over_seeds.high,
        item_low=item_low,
        item_high=item_high,
        superiority=superiority(
            np.concatenate([pair.first_values, lost[0]]), np.concatenate([pair.second_values, lost[1]])
        ),
        num_diverged=pair.num_diverged,
        p_value=p,
        corrected=corrected,
        verdict=verdict,
    )


def p_text(value: float) -> str:
    """Three decimals, or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def sentence(found: Contrast, metric: str) -> str:
    """The conclusion of one contrast in words, with its numbers."""
    num, d = found.difference.num_values, found.difference
    if found.verdict == "not judged":
        why = "at every seed a run of one of them diverged"
        if num == 1:
            why = "a single seed says nothing; run at least two seeds"
        return f"{found.first} against {found.second}: not judged, for {why}."
    words = {"better": "is better than", "worse": "is worse than"}.get(found.verdict)
    start = (
        f"{found.first} {words} {found.second}"
        if words
        else f"No difference shown between {found.first} and {found.second}"
    )
    over = f"{num} seeds" if found.item_low is None else f"{num} seeds and the test items"
    diverged = [
        f"{count} run{'s' if count > 1 else ''} of {arm} diverged"
        for arm, count in zip((found.first, found.second), found.num_diverged, strict=True)
        if count
    ]
    left_out = f"; seeds left out, for {' and '.join(diverged)}" if diverged else ""
    text = p_text(found.corrected)
    p = text if text.startswith("<") else f"= {text}"
    return (
        f"{start}: {metric} {d.mean:+.3f} (95 % interval {d.low:+.3f} to {d.high:+.3f} over {over}{left_out}; "
        f"p {p} after correction; a run of {found.first} beats one of {found.second} with "
        f"probability {found.superiority:.2f})."
    )
