"""Mean average precision where a video may have several labels, against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tubelet.errors import DataError
from tubelet.tasks.multi_label import compute_multi_label_metrics

NAMES = ("walk", "talk", "sing", "never")
PROBS = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.8, 0.3, 0.4, 0.1], [0.7, 0.9, 0.3, 0.3], [0.6, 0.2, 0.2, 0.4]])
LABELS = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def average_precision(scores: Tensor, has: Tensor) -> float:
    """Mean of the precision at the rank of each positive."""
    ranked = has[scores.argsort(descending=True)]
    precision = ranked.cumsum(0) / torch.arange(1, len(has) + 1)
    return float((precision * ranked).sum() / ranked.sum())


def test_map_is_the_mean_over_the_classes_that_occur() -> None:
    metrics = compute_multi_label_metrics(PROBS, LABELS, NAMES)
    expected = [average_precision(PROBS[:, c], LABELS[:, c]) for c in range(3)]
    assert expected == pytest.approx([5 / 6, 0.5, 1.0])
    assert list(metrics["per_class"].values())[:3] == pytest.approx(expected)
    assert metrics["per_class"]["never"] is None
    assert metrics["mean_average_precision"] == pytest.approx(sum(expected) / 3)
    assert metrics["prevalence_baseline"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    assert metrics["class_counts"] == {"walk": 2, "talk": 1, "sing": 1, "never": 0}
    target = LABELS.float()
    assert metrics["loss"] == pytest.approx(torch.nn.functional.binary_cross_entropy(PROBS, target).item())


def test_one_class_in_all_videos_has_no_auroc_but_an_average_precision() -> None:
    metrics = compute_multi_label_metrics(PROBS[:2, :1], torch.ones(2, 1, dtype=torch.int64), NAMES[:1])
    assert (metrics["mean_average_precision"], metrics["auroc"]) == (1.0, None)


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        (PROBS, LABELS * 0, "got 4 videos and 0 labels"),
        (PROBS[:0], LABELS[:0], "got 0 videos"),
        (PROBS + 1, LABELS, "are not probabilities"),
        (PROBS * float("nan"), LABELS, "are not probabilities"),
    ],
)
def test_what_cannot_be_measured_is_refused(probs: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compute_multi_label_metrics(probs, labels, NAMES)
