"""The order in which an epoch of training goes through the rows; it depends on nothing but (seed, epoch)."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest

Sampling = Literal["natural", "balanced"]


def balanced_shares(manifest: Manifest) -> NDArray[np.float64]:
    """The probability of each row to be drawn, with which every class of a head is drawn equally often.

    A row of several heads has the mean of the probabilities that its classes give it, a row with several labels that
    of its labels; a row without a label counts as one of a class of its own.
    """
    heads, total = range(len(manifest.class_names)), np.zeros(len(manifest))
    for head in heads:
        of_rows = [
            labels_of(sample.labels, head, multi_label=manifest.multi_label) or [-1] for sample in manifest.samples
        ]
        counts = Counter(label for labels in of_rows for label in labels)
        total += [float(np.mean([1 / counts[label] for label in labels])) for labels in of_rows]
    shares: NDArray[np.float64] = total / total.sum()
    return shares


def draw_balanced(shares: NDArray[np.float64], rng: np.random.Generator, num_repeats: int = 1) -> list[int]:
    """As many rows as there are, drawn with replacement.

    Drawn again in the same epoch, a row is named ``row + k * rows``, which ``ClipDataset.read`` takes for another clip
    of it; every ``num_repeats``-th of these, for the numbers between are the loader's own repeats.
    """
    seen = Counter[int]()
    order = []
    for row in rng.choice(len(shares), size=len(shares), p=shares).tolist():
        order.append(row + seen[row] * num_repeats * len(shares))
        seen[row] += 1
    return order
