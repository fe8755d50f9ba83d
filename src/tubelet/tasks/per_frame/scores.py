"""What the scores of films are worth: counts of each film, and figures over all of them, plain or resampled by film.

    S  steps of a film   K  classes   C  classes that are judged (without background)   F  films   R  resampled sets

Steps that are not labeled count nowhere, and a found bout that lies in them for the most part is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from tubelet.tasks.metric import mean_of
from tubelet.tasks.per_frame.matching import boundary_pairs, matched
from tubelet.tasks.per_frame.rules import BoutRule, active_steps, spans_of
from tubelet.tasks.per_frame.targets import UNLABELED, Span, seen_classes

IOUS = (0.1, 0.25, 0.5)


@dataclass(frozen=True, kw_only=True)
class FilmScores:
    """One film: probabilities of its steps beside what is there."""

    name: str
    probs: Float[np.ndarray, "S K"]
    codes: Int[np.ndarray, " S"]  # targets, as ``step_targets`` gives them
    edges: Float[np.ndarray, " S_and_1"]
    truth: dict[str, list[Span]]  # labeled bouts of each class
    others: tuple[Int[np.ndarray, " S"], ...] = ()  # targets by each further observer
    frame_times: Float[np.ndarray, " N"] | None = None  # seconds at which each frame appears, where they are known
    shift_change: float | None = None  # mean change of the probabilities where windows lie half a stride later


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """The films of a split and the rules by which bouts are found."""

    films: tuple[FilmScores, ...]
    names: tuple[str, ...]  # K; of one class per step, the first is background
    rules: tuple[BoutRule, ...]
    one: bool

    @property
    def judged(self) -> tuple[str, ...]:
        """The C behaviors."""
        return self.names[1:] if self.one else self.names

    @property
    def first(self) -> int:
        """Place of the first behavior among the classes."""
        return 1 if self.one else 0

    @cached_property
    def seen(self) -> list[Bool[np.ndarray, "S C"]]:
        """Which behaviors each labeled step has, by film."""
        return [seen_classes(f.codes, len(self.names), one=self.one)[_labeled(f), self.first :] for f in self.films]

    @cached_property
    def probs(self) -> list[Float[np.ndarray, "S C"]]:
        """Probabilities of labeled steps, by film."""
        return [f.probs[_labeled(f), self.first :] for f in self.films]

    @cached_property
    def active(self) -> list[Bool[np.ndarray, "S C"]]:
        """Which behaviors each step has by the rules, by film."""
        return [active_steps(f.probs, f.edges, self.rules, one=self.one)[:, self.first :] for f in self.films]

    @cached_property
    def counts(self) -> Float[np.ndarray, "F C 4"]:
        """Right, found wrongly, missed and rightly left out steps."""
        found = [active[_labeled(film)] for film, active in zip(self.films, self.active, strict=True)]
        return np.stack([binary_counts(a, b) for a, b in zip(found, self.seen, strict=True)])

    @cached_property
    def found(self) -> list[list[list[Span]]]:
        """Found bouts by film and behavior."""
        return [
            [in_labeled(spans_of(active[:, c], film.edges), film) for c in range(len(self.judged))]
            for film, active in zip(self.films, self.active, strict=True)
        ]

    @cached_property
    def true(self) -> list[list[list[Span]]]:
        """Labeled bouts by film and behavior."""
        return [[in_labeled(film.truth.get(name, []), film) for name in self.judged] for film in self.films]

    def bout_counts(self, least_iou: float) -> Float[np.ndarray, "F C 3"]:
        """Matched, found and labeled bouts."""
        pairs = zip(self.found, self.true, strict=True)
        return np.array(
            [
                [(len(matched(a, b, least_iou)), len(a), len(b)) for a, b in zip(found, true, strict=True)]
                for found, true in pairs
            ],
            dtype=float,
        ).reshape(len(self.films), len(self.judged), 3)

    @cached_property
    def boundaries(self) -> list[Float[np.ndarray, "E 2"]]:
        """Boundaries of matched bouts (IoU 0.1), found and true, in seconds, by film."""
        return [
            np.array(
                [pair for a, b in zip(found, true, strict=True) for pair in boundary_pairs(a, b, IOUS[0])], dtype=float
            ).reshape(-1, 2)
            for found, true in zip(self.found, self.true, strict=True)
        ]

    @cached_property
    def errors(self) -> list[list[float]]:
        """Seconds between these boundaries, by film."""
        return [np.abs(of_film[:, 0] - of_film[:, 1]).tolist() for of_film in self.boundaries]

    @property
    def frame_errors(self) -> list[int]:
        """Frames between them, of the films whose frames are known."""
        errors: list[int] = []
        for film, of_film in zip(self.films, self.boundaries, strict=True):
            if film.frame_times is not None:
                frames = np.searchsorted(film.frame_times, of_film - 1e-6)  # E 2; the film's end is behind the last
                errors += np.abs(frames[:, 0] - frames[:, 1]).tolist()
        return errors

    @property
    def step_seconds(self) -> float:
        """Median length of a step."""
        return float(np.median(np.concatenate([np.diff(film.edges) for film in self.films])))


def _labeled(film: FilmScores) -> Bool[np.ndarray, " S"]:
    return film.codes != UNLABELED


def in_labeled(spans: Sequence[Span], film: FilmScores) -> list[Span]:
    """The bouts that lie in labeled steps for at least a half."""
    labeled = _labeled(film)
    if labeled.all():
        return list(spans)
    kept = []
    for start, stop in spans:
        covered = np.clip(np.minimum(stop, film.edges[1:]) - np.maximum(start, film.edges[:-1]), 0, None)
        if covered[labeled].sum() >= 0.5 * covered.sum():
            kept.append((start, stop))
    return kept


def binary_counts(found: Bool[np.ndarray, "S C"], true: Bool[np.ndarray, "S C"]) -> Float[np.ndarray, "C 4"]:
    """Steps of each class that are right, found wrongly, missed, and rightly left out."""
    cells = (found & true, found & ~true, ~found & true, ~found & ~true)
    return np.stack([cell.sum(axis=0) for cell in cells], axis=-1).astype(float)


def average_precision(
    order: Int[np.ndarray, " N"],
    scores: Float[np.ndarray, " N"],
    positive: Bool[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
) -> float | None:
    """Area under the precision-recall curve, not interpolated, of weighted steps; None where none is positive.

    Args:
        order: places of the scores from the highest on.
    """
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal scores count together
    right = np.cumsum(weights[order] * positive[order])[last]
    taken = np.cumsum(weights[order])[last]
    if not right[-1]:
        return None
    precision = right / np.maximum(taken, 1e-12)
    return float((np.diff(right, prepend=0.0) * precision).sum() / right[-1])


def average_precisions(scores: SplitScores, weights: Sequence[Float[np.ndarray, " F"]]) -> list[list[float | None]]:
    """Of each set of weights of films, the average precision of each behavior."""
    probs, seen = np.concatenate(scores.probs), np.concatenate(scores.seen)
    film_of = np.repeat(np.arange(len(scores.films)), [len(part) for part in scores.seen])
    found: list[list[float | None]] = [[] for _ in weights]
    for c in range(len(scores.judged)):
        order = np.argsort(-probs[:, c], kind="stable")
        for row, of_films in zip(found, weights, strict=True):
            row.append(average_precision(order, probs[:, c], seen[:, c], of_films[film_of]))
    return found


def f1(
    right: Float[np.ndarray, " C"], found: Float[np.ndarray, " C"], true: Float[np.ndarray, " C"]
) -> list[float | None]:
    """F1 of each class; None where it is neither found nor there."""
    return [
        None if not f + t else float(2 * r / (f + t))
        for r, f, t in zip(right.tolist(), found.tolist(), true.tolist(), strict=True)
    ]


def frame_f1(counts: Float[np.ndarray, "C 4"]) -> list[float | None]:
    """F1 of the steps of each class."""
    right, wrong, missed, _ = counts.T
    return f1(right, right + wrong, right + missed)


def kappa(counts: Float[np.ndarray, "C 4"]) -> float | None:
    """Cohen's kappa of each behavior's presence, averaged over the behaviors that either side sees."""
    values = []
    for right, wrong, missed, none in counts.tolist():
        total = right + wrong + missed + none
        if not right + wrong + missed or not total:
            continue
        expected = ((right + wrong) * (right + missed) + (none + wrong) * (none + missed)) / total**2
        values.append(1.0 if expected == 1 else ((right + none) / total - expected) / (1 - expected))
    return mean_of(values)


Figure = Callable[[Float[np.ndarray, " F"]], float | None]  # of weights of films


def resampled(figures: dict[str, Figure], num_films: int, num_sets: int, seed: int) -> dict[str, list[float]]:
    """The 95 % interval of each figure where films are drawn with replacement; none where it has no spread."""
    if num_films < 2:
        return {}
    rng, share = np.random.default_rng(seed), np.full(num_films, 1 / num_films)
    # Of few films many sets are alike, and each is measured once.
    drawn, places = np.unique(rng.multinomial(num_films, share, size=num_sets), axis=0, return_inverse=True)
    intervals = {}
    for name, figure in figures.items():
        measured = [figure(weights) for weights in drawn.astype(float)]
        values = [value for place in places.reshape(-1).tolist() if (value := measured[place]) is not None]
        low, high = np.quantile(values, [0.025, 0.975]).tolist() if values else (0.0, 0.0)
        if low < high:
            intervals[name] = [low, high]
    return intervals
