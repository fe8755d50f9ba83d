"""Which stretches of films are most worth labeling: the model is unsure of them, and nothing labeled is like them.

A stretch is worth the sum over its blocks of

    uncertainty * distance to the nearest block that is labeled, or lies in a stretch that was chosen before

so that stretches are unlike what is labeled and unlike each other: weighted k-center. The uncertainty of a step is the
binary entropy of its classes, or the entropy of the one class that it has; a block is a few steps, with the mean of
their features weighted by uncertainty, so that what is short in it counts. Distances are those of features of which
each dimension has mean 0 and deviation 1 over all blocks, divided by the square root of their width.

Source: Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach"
(arXiv:1708.00489, section 4: k-center over features), and Lewis and Gale 1994, "A Sequential Algorithm for Training
Text Classifiers" (arXiv:cmp-lg/9407020: uncertainty).
Deviation: both at once; the distance is weighted by the uncertainty, and stretches are chosen in place of single items.

    S  steps   B  blocks   D  width of a feature   K  classes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

_AT_ONCE = 4096  # blocks whose distances are computed together
_FLOOR = 1e-3  # uncertainty that counts where the model is sure, so that what is unlike everything is found too


def uncertainty(probs: Float[np.ndarray, "S K"], *, one: bool) -> Float[np.ndarray, " S"]:
    """Entropy of each step, in nats: summed over classes that may be together, or that of the one class."""
    p = np.clip(probs.astype(np.float64), 1e-7, 1 - 1e-7)
    if one:
        return -(p * np.log(p)).sum(axis=1)
    return -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The steps of one film, a few in each block."""

    vectors: Float[Tensor, "B D"]  # means, weighted by uncertainty
    weights: Float[np.ndarray, " B"]  # summed seconds times uncertainty
    starts: Float[np.ndarray, " B"]  # seconds
    stops: Float[np.ndarray, " B"]
    labeled: Bool[np.ndarray, " B"]  # whether most of its steps are labeled


def blocks_of(
    vectors: Float[Tensor, "S D"],
    unsure: Float[np.ndarray, " S"],
    edges: Float[np.ndarray, " S_and_1"],
    labeled: Bool[np.ndarray, " S"],
    block_seconds: float,
) -> Blocks:
    """The blocks of a film.

    Args:
        vectors: features of the steps.
        unsure: uncertainty of the steps.
        edges: when each step begins, and when the last one ends.
        labeled: steps that people labeled.
        block_seconds: about how long a block is; at least a step.
    """
    number = np.floor((edges[:-1] - edges[0]) / block_seconds + 1e-9).astype(np.int64)
    _, first = np.unique(number, return_index=True)
    lengths = np.diff(edges)
    weights = np.maximum(unsure, _FLOOR) * np.maximum(lengths, 1e-9)
    total = np.add.reduceat(weights, first)
    place = torch.from_numpy(np.repeat(np.arange(len(first)), np.diff(np.append(first, len(number)))))
    scaled = vectors.float() * torch.from_numpy(weights).float()[:, None]  # S D
    summed = torch.zeros(len(first), vectors.shape[1]).index_add_(0, place, scaled)
    share = np.add.reduceat(lengths * labeled, first) / np.maximum(np.add.reduceat(lengths, first), 1e-12)
    return Blocks(
        vectors=summed / torch.from_numpy(total).float()[:, None],
        weights=total,
        starts=edges[:-1][first],
        stops=np.append(edges[:-1][first[1:]], edges[-1]),
        labeled=share > 0.5,
    )


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch that is worth labeling."""

    film: int  # place of its film
    start: float  # seconds
    stop: float
    uncertainty: float  # mean entropy of its steps, in nats
    novelty: float  # mean distance to what is labeled or was chosen before, in standard deviations
    blocks: tuple[int, int]  # of its film: first, and the one behind the last


def choose_stretches(
    films: Sequence[Blocks],
    labeled: Float[Tensor, "L D"],
    *,
    seconds: float,
    stretch_seconds: float,
    on_stretch: Callable[[float], None] = lambda chosen: None,
) -> list[Stretch]:
    """The stretches most worth labeling, the best first, until they last ``seconds`` together.

    Args:
        films: with what is not labeled of them; blocks that are labeled belong to no stretch.
        labeled: features of labeled blocks of any film.
        seconds: the last stretch is shorter where the time is up.
        stretch_seconds: length of a stretch; shorter ones lie at the end of a film or beside what is labeled.
        on_stretch: called with the seconds that are chosen.
    """
    taken = [film.labeled.copy() for film in films]
    left = _places(films, taken, stretch_seconds)
    if not left:
        return []
    vectors = torch.cat([film.vectors for film in films])
    offsets = np.cumsum([0, *(len(film.weights) for film in films)])
    scaled, known = _standardized(vectors, labeled)
    distances = nearest(scaled, known)  # B
    weights = torch.from_numpy(np.concatenate([film.weights for film in films])).float()
    chosen: list[Stretch] = []
    done = 0.0
    while left and seconds - done > 1e-6:
        sums = torch.cat([torch.zeros(1, dtype=torch.float64), (weights * distances).double().cumsum(0)])
        bounds = torch.tensor([(offsets[f] + a, offsets[f] + b) for f, a, b in left])  # P 2
        value = sums[bounds[:, 1]] - sums[bounds[:, 0]]
        best = int(value.argmax())
        film, first, stop = left[best]
        first, stop = _fitting(films[film], first, stop, seconds - done)
        whole = slice(offsets[film] + first, offsets[film] + stop)
        chosen.append(_stretch(films[film], film, (first, stop), float(distances[whole].mean())))
        done += chosen[-1].stop - chosen[-1].start
        on_stretch(min(done, seconds))
        distances = torch.minimum(distances, nearest(scaled, scaled[whole]))
        taken[film][first:stop] = True
        left = [(f, a, b) for f, a, b in left if f != film or b <= first or a >= stop]
        left = left or _places(films, taken, stretch_seconds)  # what lies between those that were chosen
    return chosen


def _stretch(film: Blocks, number: int, blocks: tuple[int, int], novelty: float) -> Stretch:
    first, stop = blocks
    start, end = float(film.starts[first]), float(film.stops[stop - 1])
    unsure = float(film.weights[first:stop].sum() / (end - start))
    return Stretch(film=number, start=start, stop=end, uncertainty=unsure, novelty=novelty, blocks=blocks)


def _fitting(film: Blocks, first: int, stop: int, seconds: float) -> tuple[int, int]:
    """The stretch, without its last blocks where it is longer than these seconds; at least one block."""
    fits = int(np.searchsorted(film.stops[first:stop] - film.starts[first], seconds + 1e-6, side="right"))
    return first, first + max(1, fits)


def _places(
    films: Sequence[Blocks], taken: Sequence[NDArray[np.bool_]], stretch_seconds: float
) -> list[tuple[int, int, int]]:
    """Where stretches may lie: film, first block and the one behind the last, half a stretch apart."""
    found = []
    for number, film in enumerate(films):
        for low, high in _runs(~taken[number]):
            begin = film.starts[low]
            while begin < film.stops[high - 1] - 1e-9:
                first = low + int(np.searchsorted(film.starts[low:high], begin - 1e-9))
                stop = low + int(np.searchsorted(film.stops[low:high], begin + stretch_seconds + 1e-9, side="right"))
                if first < stop:
                    found.append((number, first, stop))
                if stop >= high:
                    break
                begin += stretch_seconds / 2
    return found


def _runs(present: Bool[np.ndarray, " B"]) -> list[tuple[int, int]]:
    changes: Int[np.ndarray, " n"] = np.flatnonzero(np.diff(np.r_[False, present, False].astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in changes.reshape(-1, 2)]


def _standardized(
    vectors: Float[Tensor, "B D"], labeled: Float[Tensor, "L D"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "L D"]]:
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0).clamp(min=1e-6)
    scale = deviation * vectors.shape[1] ** 0.5
    return (vectors - mean) / scale, (labeled - mean) / scale


def nearest(vectors: Float[Tensor, "B D"], others: Float[Tensor, "L D"]) -> Float[Tensor, " B"]:
    """The distance of each vector to the nearest of the others; 1 where there is none."""
    if not len(others):
        return torch.ones(len(vectors))
    found = []
    for part in vectors.split(_AT_ONCE):
        least = torch.full((len(part),), float("inf"))
        for some in others.split(_AT_ONCE):
            least = torch.minimum(least, torch.cdist(part, some).amin(dim=1))
        found.append(least)
    return torch.cat(found)
