"""Metrics of actions: all heads right at once, over the videos that have a label of every head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.errors import DataError
from tubelet.tasks.actions import action_scores
from tubelet.tasks.multi_head import action_metrics
from tubelet.tasks.single_label import compute_metrics

NAMES = (("tap", "plate", "door"), ("take", "open"))
# Best noun and verb of each video, with 0.6 and 0.7 of the probability.
BEST = [(0, 0), (0, 1), (2, 1), (2, 1)]


def scores(best: list[tuple[int, int]]) -> Tensor:
    nouns, verbs = torch.full((len(best), 3), 0.2), torch.full((len(best), 2), 0.3)
    for row, (noun, verb) in enumerate(best):
        nouns[row, noun], verbs[row, verb] = 0.6, 0.7
    return torch.cat([nouns, verbs], dim=1)


def measure(best: list[tuple[int, int]], true: list[list[int]], **options: object) -> dict[str, Any]:
    probs, labels = scores(best), torch.tensor(true)
    heads = {}
    for i, (head, columns) in enumerate((("noun", slice(0, 3)), ("verb", slice(3, 5)))):
        known = labels[:, i] >= 0
        heads[head] = compute_metrics(probs[known, columns], labels[known, i], NAMES[i])
    return action_metrics(action_scores(probs, labels, NAMES, heads, **options))  # type: ignore[arg-type]


def test_an_action_is_right_where_every_head_is() -> None:
    metrics = measure(BEST, [[0, 0], [0, 0], [1, 1], [2, 1]])
    assert metrics["top1"] == 0.5
    assert (metrics["heads"]["noun"]["top1"], metrics["heads"]["verb"]["top1"]) == (0.75, 0.75)
    # Of the six actions, all but the last are among the best five.
    assert (metrics["top5"], metrics["top5_k"]) == (1.0, 5)
    assert measure(BEST, [[0, 0], [0, 0], [1, 0], [2, 1]])["top5"] == 0.75
    # Actions (0, 0), (1, 1) and (2, 1) occur; half, none and all of their videos are right.
    assert metrics["mean_class"] == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert metrics["calibration_error"] == pytest.approx(0.5 - 0.42)
    assert metrics["loss"] == pytest.approx((metrics["heads"]["noun"]["loss"] + metrics["heads"]["verb"]["loss"]) / 2)


def test_the_majority_baseline_is_the_most_frequent_training_action() -> None:
    true = [[0, 0], [0, 0], [1, 1], [2, 1]]
    here, trained = measure(BEST, true), measure(BEST, true, train_actions=[(2, 1), (2, 1), (0, 0), (-1, 0), (-1, 0)])
    assert (here["majority_label"], here["majority_baseline"], here["majority_source"]) == (
        "tap + take",
        0.5,
        "evaluated",
    )
    assert (trained["majority_label"], trained["majority_baseline"], trained["majority_source"]) == (
        "door + open",
        0.25,
        "train",
    )


def test_a_video_without_a_label_of_one_head_counts_for_the_other_alone() -> None:
    metrics = measure(BEST, [[0, 0], [-1, 1], [1, 1], [2, -1]])
    assert metrics["num_videos"] == 2
    assert metrics["top1"] == 0.5
    assert (metrics["heads"]["noun"]["num_videos"], metrics["heads"]["verb"]["num_videos"]) == (3, 3)
    assert metrics["heads"]["verb"]["top1"] == 1.0


def test_labels_that_never_meet_are_refused() -> None:
    with pytest.raises(DataError, match="no video has a label of every head \\(noun, verb\\)"):
        measure(BEST, [[0, -1], [-1, 1], [1, -1], [-1, 0]])
