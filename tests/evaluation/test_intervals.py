"""Intervals resample groups of videos, which are right or wrong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tubelet.data.manifest.manifest import Sample
from tubelet.evaluation.intervals import group_figures, group_weights
from tubelet.protocol import Protocol
from tubelet.report.numbers import wilson_interval
from tubelet.tasks.choose import task_of

TASK = task_of(Protocol(labels={"label": ("a", "b")}))


def scored(num_groups: int, size: int, right: int) -> tuple[list[Sample], torch.Tensor]:
    """Groups of ``size`` videos; in ``right`` of them all are right, in the others none."""
    samples, probs = [], []
    for group in range(num_groups):
        for number in range(size):
            samples.append(Sample(path=f"{group}-{number}", labels=(number % 2,), split="test", group=f"g{group}"))
            answer = number % 2 if group < right else 1 - number % 2
            probs.append([0.9, 0.1] if answer == 0 else [0.1, 0.9])
    return samples, torch.tensor(probs)


def test_videos_of_a_group_are_drawn_together() -> None:
    weights = group_weights(["x", "y", "x", "z"], 50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert set((weights[:, 0] + weights[:, 1] + weights[:, 3]).tolist()) == {3.0}


def test_an_interval_over_groups_is_as_wide_as_one_over_so_many_videos() -> None:
    figures = group_figures(TASK, *scored(20, 10, 15))
    assert figures["num_groups"] == 20
    low, high = figures["intervals"]["top1"]  # type: ignore[index]
    assert (low, high) == pytest.approx(wilson_interval(0.75, 20), abs=0.06)
    narrow = wilson_interval(0.75, 200)
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_groups_that_all_agree_give_no_interval() -> None:
    assert group_figures(TASK, *scored(4, 6, 4)) == {"num_groups": 4, "intervals": {}}


def test_videos_without_groups_add_nothing() -> None:
    samples = [Sample(path=str(number), labels=(number % 2,), split="test") for number in range(6)]
    assert group_figures(TASK, samples, torch.full((6, 2), 0.5)) == {}
