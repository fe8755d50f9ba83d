"""Bout rules chosen on validation films: of each behavior those with the best F1 of bouts at IoU 0.5.

Of equal rules the one with the better F1 at 0.25 and of steps, then the first tried, which is the plainest. Least
durations and gaps are tried as shares of the short end of labeled bouts (their 5th percentile), so that they fit
behaviors of any length.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from tubelet.tasks.per_frame.matching import matched
from tubelet.tasks.per_frame.rules import BoutRule, bout_steps
from tubelet.tasks.per_frame.scores import SplitScores, in_labeled
from tubelet.tasks.per_frame.targets import UNLABELED

_ON = (0.5, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
_OFF_SHARES = (1.0, 0.7, 0.4)  # of ``on``
_LEAST_SHARES, _GAP_SHARES = (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)  # of the 5th percentile of the labeled bouts' lengths


def choose_rules(validation: SplitScores) -> tuple[BoutRule, ...]:
    """A rule for every class; the default where validation films do not show a behavior."""
    rules = list(validation.rules)
    for c, name in enumerate(validation.judged):
        lengths = [stop - start for film in validation.films for start, stop in film.truth.get(name, ())]
        if not lengths:
            continue
        short = float(np.quantile(lengths, 0.05))
        tried = [
            BoutRule(on=on, off=on * off, least_seconds=round(least * short, 4), gap_seconds=round(gap * short, 4))
            for gap, least, off, on in itertools.product(_GAP_SHARES, _LEAST_SHARES, _OFF_SHARES, _ON)
        ]
        place = c + validation.first
        worth = [_worth(validation, place, name, rule) for rule in tried]
        rules[place] = tried[max(range(len(tried)), key=lambda i: (worth[i], -i))]
    return tuple(rules)


def with_rules(scores: SplitScores, rules: tuple[BoutRule, ...]) -> SplitScores:
    """The same films by other rules."""
    return dataclasses.replace(scores, rules=rules)


def _worth(scores: SplitScores, place: int, name: str, rule: BoutRule) -> float:
    """F1 of bouts at IoU 0.5, with small shares of those at 0.25 and of steps."""
    strict = loose = number = 0
    right = steps = 0.0
    for film, seen in zip(scores.films, scores.seen, strict=True):
        runs = bout_steps(film.probs[:, place], film.edges, rule)
        spans = [(float(film.edges[first]), float(film.edges[stop])) for first, stop in runs]
        found, true = in_labeled(spans, film), in_labeled(film.truth.get(name, []), film)
        strict += len(matched(found, true, 0.5))
        loose += len(matched(found, true, 0.25))
        number += len(found) + len(true)
        active = np.zeros(len(film.codes), dtype=bool)
        for first, stop in runs:
            active[first:stop] = True
        active, present = active[film.codes != UNLABELED], seen[:, place - scores.first]
        right += float((active & present).sum())
        steps += float(active.sum() + present.sum())
    return 2 * strict / max(1, number) + 0.1 * 2 * loose / max(1, number) + 0.1 * 2 * right / max(1.0, steps)
