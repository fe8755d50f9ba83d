"""Two arms on the same test items: differences on resampled test sets, paired by seed.

Where arms were tested on one test split, all their runs are compared on the items that all of them scored. In
cross-validation each seed has test items of its own (a fold): they are resampled fold by fold.

    R  resampled sets   S  seeds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tubelet.evaluation.intervals import SEED, group_weights
from tubelet.studies.items import ItemScores, TestItem, on_common_items, read_scores, resampled_metric


@dataclass(frozen=True, kw_only=True)
class PairedItems:
    """What the items say of two arms."""

    differences: Float[np.ndarray, "R S"]  # first minus second, without sets that lack a class
    # The metric of each run on the items that all scored; None where those are all items.
    values: tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]] | None


def paired_items(
    metric: str, files: tuple[Sequence[Path], Sequence[Path]], groups: Mapping[TestItem, str], *, is_folded: bool
) -> PairedItems:
    """Compare two arms on their test items.

    Args:
        files: ``scores.csv`` of each run, by arm, in the order of the same seeds.
        groups: of the items; those of one group are drawn together. An item that has none is alone.
        is_folded: whether every seed has a test split of its own.

    Raises:
        DataError: no item was read in all runs.
    """
    found = [[read_scores(file) for file in of_arm] for of_arm in files]
    seeds = range(len(found[0]))
    parts = [[seed] for seed in seeds] if is_folded else [list(seeds)]
    compared = [
        _compare(metric, [[of_arm[seed] for seed in part] for of_arm in found], groups, SEED + number)
        for number, part in enumerate(parts)
    ]
    differences = np.concatenate([differences for differences, _, _ in compared], axis=1)
    values = [np.concatenate([values[arm] for _, values, _ in compared]) for arm in (0, 1)]
    return PairedItems(
        differences=differences[~np.isnan(differences).any(axis=1)],
        values=(values[0], values[1]) if any(is_cut for _, _, is_cut in compared) else None,
    )


def _compare(
    metric: str, found: list[list[ItemScores]], groups: Mapping[TestItem, str], seed: int
) -> tuple[Float[np.ndarray, "R S"], list[Float[np.ndarray, " S"]], bool]:
    """Differences on resampled sets, the values on all common items, and whether some run has more items than these."""
    whole = [run for of_arm in found for run in of_arm]
    scores = on_common_items(whole)
    halves = scores[: len(found[0])], scores[len(found[0]) :]
    weights = group_weights([groups.get(item, repr(item)) for item in scores[0].items], seed=seed)
    first, second = (resampled_metric(of_arm, metric, weights) for of_arm in halves)
    values = [resampled_metric(of_arm, metric, np.ones((1, weights.shape[1])))[0] for of_arm in halves]
    return first - second, values, any(len(a.labels) < len(b.labels) for a, b in zip(scores, whole, strict=True))
