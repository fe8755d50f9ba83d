"""From scores to bouts: hysteresis, gaps, least durations, and rules chosen on validation films."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.errors import ConfigError
from tubelet.tasks.per_frame.choose_rules import choose_rules
from tubelet.tasks.per_frame.rules import BoutRule, active_steps, bout_spans
from tubelet.tasks.per_frame.scores import FilmScores, SplitScores

EDGES = np.arange(11) / 10
PROBS = np.array([0.1, 0.45, 0.8, 0.45, 0.1, 0.45, 0.1, 0.9, 0.1, 0.1])


@pytest.mark.parametrize(
    ("rule", "spans"),
    [
        (BoutRule(), [(0.2, 0.3), (0.7, 0.8)]),
        (BoutRule(on=0.7, off=0.4), [(0.1, 0.4), (0.7, 0.8)]),  # 0.45 alone begins nothing
        (BoutRule(on=0.7, off=0.4, gap_seconds=0.3), [(0.1, 0.8)]),
        (BoutRule(on=0.7, off=0.4, gap_seconds=0.2), [(0.1, 0.4), (0.7, 0.8)]),
        (BoutRule(on=0.7, off=0.4, least_seconds=0.2), [(0.1, 0.4)]),
        (BoutRule(on=0.85), [(0.7, 0.8)]),
    ],
)
def test_thresholds_gaps_and_durations(rule: BoutRule, spans: list[tuple[float, float]]) -> None:
    assert np.array(bout_spans(PROBS, EDGES, rule)) == pytest.approx(np.array(spans))


def test_exclusive_behaviors_never_overlap_and_the_rest_is_background() -> None:
    probs = np.array([[0.2, 0.5, 0.3], [0.1, 0.4, 0.5], [0.9, 0.05, 0.05]])
    active = active_steps(probs, np.arange(4.0), (BoutRule(on=0.4, off=0.3),) * 3, one=True)
    assert active.tolist() == [[False, True, False], [False, False, True], [True, False, False]]


def test_rules_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 < off <= on < 1"):
        BoutRule(on=0.4, off=0.5)


def test_the_chosen_rule_closes_the_gaps_and_drops_the_flicker_of_validation_scores() -> None:
    edges = np.arange(401) / 20
    truth = [(2.0, 4.0), (8.0, 11.0), (15.0, 15.6)]
    probs = np.full(400, 0.05)
    for start, stop in truth:
        probs[int(20 * start) : int(20 * stop)] = 0.75
    probs[[50, 180, 200]] = 0.1  # gaps of one step inside bouts
    probs[[100, 130, 270, 390]] = 0.7  # flicker of one step
    codes = np.zeros(400, dtype=np.int64)
    for start, stop in truth:
        codes[int(20 * start) : int(20 * stop)] = 1
    film = FilmScores(name="a", probs=probs[:, None], codes=codes, edges=edges, truth={"x": truth})
    scores = SplitScores(films=(film,), names=("x",), rules=(BoutRule(),), one=False)
    (rule,) = choose_rules(scores)
    assert np.array(bout_spans(probs, edges, rule)) == pytest.approx(np.array(truth))
    assert len(bout_spans(probs, edges, BoutRule())) > 3
