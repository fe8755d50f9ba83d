"""Folds of units: what belongs together is in one fold, and classes are spread as evenly as that allows.

N  clips
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from tubelet.errors import DataError
from tubelet.probing.config import MIN_FOLDS


def grouped_folds(
    units: Sequence[str], labels: Float[np.ndarray, "N K"], num_folds: int, seed: int
) -> Int[np.ndarray, " N"]:
    """The fold of each clip, 0 to ``num_folds - 1``.

    Units go one after the other, the largest first, to the fold that then differs least from the others in its clips
    of each class.

    Args:
        units: the name of what each clip belongs to.
        labels: 1 where the clip has the class.

    Raises:
        DataError: fewer units than folds.
    """
    check_num_groups(units, num_folds)
    names = list(dict.fromkeys(units))
    place = {name: i for i, name in enumerate(names)}
    of_clip = np.array([place[unit] for unit in units])
    counts = np.zeros((len(names), labels.shape[1]))
    np.add.at(counts, of_clip, labels)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    total, filled = np.maximum(counts.sum(0), 1), np.zeros((num_folds, labels.shape[1]))
    fold_of = np.zeros(len(names), dtype=np.int64)
    for unit in order:
        spread = [_spread(filled, fold, counts[unit], total) for fold in range(num_folds)]
        fold_of[unit] = int(np.argmin(spread))
        filled[fold_of[unit]] += counts[unit]
    return fold_of[of_clip]


def check_num_groups(units: Sequence[str], num_folds: int) -> None:
    """Raise DataError where some fold would be empty."""
    number = len(set(units))
    if number >= num_folds:
        return
    text = f"{number} group{'s' * (number != 1)} cannot be parted into {num_folds} folds"
    if number >= MIN_FOLDS:
        raise DataError(f"{text}; give --folds {number}, or clips of more groups")
    raise DataError(
        f"{text}: a head is tested on groups that its training has not seen, which takes {MIN_FOLDS} groups or more; "
        "add clips of other groups, or name another column by --group-column"
    )


def _spread(filled: np.ndarray, fold: int, added: np.ndarray, total: np.ndarray) -> float:
    """How unlike the folds are with ``added`` in ``fold``; of equal ones the emptier fold is less."""
    after = filled.copy()
    after[fold] += added
    return float((after / total).std(0).mean() + 1e-9 * after[fold].sum())


def folds_without_a_class(
    folds: Int[np.ndarray, " N"], units: Sequence[str], labels: Float[np.ndarray, "N K"], names: Sequence[str]
) -> list[str]:
    """A line for each class that some fold has one clip of, or none, or that all lies in one group."""
    lines = []
    for k, name in enumerate(names):
        counts = np.bincount(folds, weights=labels[:, k], minlength=folds.max() + 1).astype(int)
        groups = {unit for unit, has in zip(units, labels[:, k], strict=True) if has}
        if len(groups) == 1:
            clips = "1 clip counts" if counts.sum() == 1 else f"{counts.sum()} clips count"
            lines.append(f"class '{name}': one group, never in both training and test: its {clips} as wrong")
        elif counts.min() < 2:
            fewest = "1 clip" if counts.min() == 1 else "0 clips"
            lines.append(f"class '{name}' has {fewest} in a fold ({', '.join(map(str, counts))})")
    return lines
