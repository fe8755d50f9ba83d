"""Class-balanced sampling: an epoch that draws every class equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest


def balanced_shares(manifest: Manifest) -> NDArray[np.float64]:
    """The probability of each row, such that every class of a head is drawn equally often.

    A row of several heads gets the mean over its heads, a row with several labels the mean over its labels. Rows
    without a label form a class of their own.
    """
    heads, total = range(len(manifest.class_names)), np.zeros(len(manifest))
    for head in heads:
        column = None if manifest.multi_label else manifest.rows.labels_of_head(head)
        if column is not None:
            number = np.bincount(column + 1)  # from -1 on
            total += (1 / np.maximum(number, 1))[column + 1]
            continue
        of_rows = [
            labels_of(sample.labels, head, multi_label=manifest.multi_label) or [-1] for sample in manifest.samples
        ]
        counts = Counter(label for labels in of_rows for label in labels)
        total += [float(np.mean([1 / counts[label] for label in labels])) for labels in of_rows]
    shares: NDArray[np.float64] = total / total.sum()
    return shares


def draw_balanced(shares: NDArray[np.float64], rng: np.random.Generator, num_repeats: int = 1) -> NDArray[np.int64]:
    """Draw as many rows as the dataset has, with replacement.

    A row that is drawn again in the same epoch gets the index ``row + k * num_rows``, for which ``ClipDataset.read``
    draws another clip. k goes up in steps of ``num_repeats``: the loader uses the numbers between for its own repeats.
    """
    rows = rng.choice(len(shares), size=len(shares), p=shares)
    by_row = np.argsort(rows, kind="stable")
    in_order = rows[by_row]
    first = np.searchsorted(in_order, in_order)  # where the draws of each row begin
    times = np.empty_like(rows)  # that the row was drawn before
    times[by_row] = np.arange(len(rows)) - first
    order: NDArray[np.int64] = rows + times * num_repeats * len(shares)
    return order
