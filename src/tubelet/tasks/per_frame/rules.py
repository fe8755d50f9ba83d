"""From scores of steps to bouts: two thresholds (hysteresis), a longest gap and a least duration per class.

A bout begins where the probability reaches ``on`` and goes on to either side while it stays above ``off``. Bouts with a
gap of at most ``gap_seconds`` are one; then those that are shorter than ``least_seconds`` are left out.

    S  steps   K  classes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tubelet.errors import ConfigError
from tubelet.tasks.per_frame.targets import Span


@dataclass(frozen=True, kw_only=True)
class BoutRule:
    """How the bouts of one class are found."""

    on: float = 0.5  # probability at which a bout begins
    off: float = 0.5  # probability below which it has ended, at most ``on``
    least_seconds: float = 0.0  # shorter bouts are left out
    gap_seconds: float = 0.0  # longest gap inside a bout

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on < 1 or self.least_seconds < 0 or self.gap_seconds < 0:
            raise ConfigError(f"a bout rule needs 0 < off <= on < 1 and durations from 0 on, got {self}")


def bout_spans(probs: Float[np.ndarray, " S"], edges: Float[np.ndarray, " S_and_1"], rule: BoutRule) -> list[Span]:
    """Start and stop of the bouts of one class, in seconds."""
    return [(float(edges[first]), float(edges[stop])) for first, stop in bout_steps(probs, edges, rule)]


def bout_steps(
    probs: Float[np.ndarray, " S"], edges: Float[np.ndarray, " S_and_1"], rule: BoutRule
) -> list[tuple[int, int]]:
    """First step and the step behind the last one of each bout."""
    runs = _runs(probs >= rule.off)
    kept: list[tuple[int, int]] = []
    for first, stop in runs:
        if probs[first:stop].max() < rule.on:
            continue
        if kept and edges[first] - edges[kept[-1][1]] <= rule.gap_seconds + 1e-9:
            kept[-1] = kept[-1][0], stop
        else:
            kept.append((first, stop))
    return [(first, stop) for first, stop in kept if edges[stop] - edges[first] >= rule.least_seconds - 1e-9]


def _runs(present: Bool[np.ndarray, " S"]) -> list[tuple[int, int]]:
    changes = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in changes.reshape(-1, 2)]


def active_steps(
    probs: Float[np.ndarray, "S K"], edges: Float[np.ndarray, " S_and_1"], rules: Sequence[BoutRule], *, one: bool
) -> Bool[np.ndarray, "S K"]:
    """Which classes each step has, by the rules.

    Args:
        one: behaviors exclude each other: of several bouts at a step the likelier class counts, and a step without
            any is background, class 0, whose rule has no meaning.
    """
    active = np.zeros(probs.shape, dtype=bool)
    for k in range(1 if one else 0, probs.shape[1]):
        for first, stop in bout_steps(probs[:, k], edges, rules[k]):
            active[first:stop, k] = True
    if one:
        best = np.where(active, probs, -1.0).argmax(axis=1)
        active = (best[:, None] == np.arange(probs.shape[1])) & active
        active[:, 0] = ~active[:, 1:].any(axis=1)
    return active


def spans_of(active: Bool[np.ndarray, " S"], edges: Float[np.ndarray, " S_and_1"]) -> list[Span]:
    """Start and stop of each run of active steps, in seconds."""
    return [(float(edges[first]), float(edges[stop])) for first, stop in _runs(active)]
