"""What is said of features: rank, spread, and the classes of neighbors."""

from __future__ import annotations

import pytest
import torch

from tubelet.tasks.masked_pretraining.features import (
    feature_rank,
    feature_spread,
    linear_accuracy,
    neighbor_accuracy,
)
from tubelet.tasks.masked_pretraining.task import MaskedPretraining

TASK = MaskedPretraining(labels={}, num_masked=3, ratio=0.75)


def test_the_rank_counts_the_directions_that_clips_fill() -> None:
    torch.manual_seed(0)
    line = torch.randn(100, 1) @ torch.randn(1, 16) + 5
    plane = torch.linalg.qr(torch.randn(16, 4))[0].T
    assert feature_rank(line) == pytest.approx(1, abs=1e-3)
    assert feature_rank(torch.randn(1000, 4) @ plane) == pytest.approx(4, abs=0.05)
    assert feature_rank(line[:3]) is None


def test_collapsed_features_get_a_warning_with_a_remedy_and_others_none() -> None:
    torch.manual_seed(0)
    same = torch.ones(20, 8) + 1e-6 * torch.randn(20, 8)
    line = TASK.collapse(TASK.measured([1.0] * 20, [1.0] * 20, same))
    assert "features collapse" in line
    assert "lower optim.lr" in line
    assert TASK.collapse(TASK.measured([1.0] * 20, [1.0] * 20, torch.randn(20, 8))) == ""
    assert feature_spread(same) == pytest.approx(0, abs=1e-5)


def test_neighbors_of_the_same_group_do_not_count() -> None:
    torch.manual_seed(0)
    centers = 10 * torch.randn(4, 8)
    features = centers.repeat_interleave(6, 0) + 0.01 * torch.randn(24, 8)
    labels = [0] * 6 + [1] * 6 + [0] * 6 + [1] * 6
    assert neighbor_accuracy(features, labels, [None] * 24) == 1
    by_center = [str(row // 6) for row in range(24)]
    assert (neighbor_accuracy(features, labels, by_center) or 0) < 1
    assert neighbor_accuracy(features, [0] * 24, [None] * 24) is None


def test_a_linear_head_is_asked_of_clips_that_neither_it_nor_their_group_has_shown_it() -> None:
    torch.manual_seed(0)
    labels = [row % 2 for row in range(120)]
    told = torch.randn(120, 64) * 3
    told[:, 5] += torch.tensor(labels) * 20.0
    assert (linear_accuracy(told, labels, [None] * 120) or 0) > 0.9
    assert 0.25 < (linear_accuracy(torch.randn(120, 200), labels, [None] * 120) or 0) < 0.75  # although 200 > 120
    by_group = torch.randn(12, 64).repeat_interleave(10, 0) + 0.01 * torch.randn(120, 64)  # shows the group alone
    of_groups = [row // 10 % 2 for row in range(120)]
    assert linear_accuracy(by_group, of_groups, [None] * 120) == 1
    assert (linear_accuracy(by_group, of_groups, [str(row // 10) for row in range(120)]) or 0) < 0.9
    assert linear_accuracy(told, [0] * 120, [None] * 120) is None


def test_a_clip_that_was_not_read_has_a_mask_all_the_same() -> None:
    assert TASK.targets([(1, 4, 6), ()]).tolist() == [[1, 4, 6], [0, 1, 2]]
