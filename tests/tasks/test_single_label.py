"""Metrics against values worked out by hand and against their definitions written as loops."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tubelet.errors import DataError
from tubelet.tasks.single_label import compute_metrics

ABC = ("a", "b", "c")


def random_scores(seed: int, num_videos: int, num_classes: int, decimals: int | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities and labels; few decimals make ties likely."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(num_videos, num_classes, generator=generator, dtype=torch.float64) + 1e-3
    if decimals is not None:
        probs = probs.round(decimals=decimals) + 1e-3
    return probs / probs.sum(dim=1, keepdim=True), torch.randint(num_classes, (num_videos,), generator=generator)


def auroc_by_counting_pairs(scores: list[float], positive: list[bool]) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; a tie is half a pair."""
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, is_p in zip(scores, positive, strict=True)
        if is_p
        for n, is_n in zip(scores, positive, strict=True)
        if not is_n
    ]
    return sum(wins) / len(wins)


@pytest.fixture
def by_hand() -> dict[str, Any]:
    """Four videos of classes a, a, b, b; predicted a, b, b, c. No video of class c."""
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    return compute_metrics(probs, torch.tensor([0, 0, 1, 1]), ABC, k=2)


def test_accuracies_by_hand(by_hand: dict[str, Any]) -> None:
    assert by_hand["num_videos"] == 4
    assert by_hand["top1"] == 0.5
    assert by_hand["per_class"] == {"a": 0.5, "b": 0.5, "c": None}
    assert by_hand["mean_class"] == 0.5
    assert by_hand["class_counts"] == {"a": 2, "b": 2, "c": 0}
    assert by_hand["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_mean_class_weighs_classes_equally() -> None:
    probs = torch.eye(2)[[0, 0, 0, 0]]  # everything is called class a
    metrics = compute_metrics(probs, torch.tensor([0, 0, 0, 1]), ("a", "b"))
    assert metrics["top1"] == 0.75
    assert metrics["mean_class"] == 0.5


def test_loss_by_hand(by_hand: dict[str, Any]) -> None:
    expected = -(math.log(0.7) + math.log(0.3) + math.log(1.0) + math.log(0.25)) / 4
    assert by_hand["loss"] == pytest.approx(expected, rel=1e-6)


def test_loss_stays_finite_when_the_true_class_has_probability_zero() -> None:
    metrics = compute_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), ("a", "b"))
    assert 80 < metrics["loss"] < 90


def test_calibration_error_by_hand() -> None:
    # Bins of width 1/15: confidences 0.8 and 0.82 share one (accuracy 1/2), 0.62 is alone (accuracy 1).
    probs = torch.tensor([[0.8, 0.2], [0.82, 0.18], [0.38, 0.62]])
    metrics = compute_metrics(probs, torch.tensor([0, 1, 1]), ("a", "b"))
    assert metrics["calibration_error"] == pytest.approx(2 / 3 * abs(0.5 - 0.81) + 1 / 3 * abs(1 - 0.62), abs=1e-6)


def test_confidence_of_one_shares_the_last_calibration_bin() -> None:
    # One bin holds 1.0 (wrong) and 0.96 (right): the error is |1/2 - 0.98|, not the mean of two bins.
    probs = torch.tensor([[1.0, 0.0], [0.96, 0.04]])
    metrics = compute_metrics(probs, torch.tensor([1, 0]), ("a", "b"))
    assert metrics["calibration_error"] == pytest.approx(abs(0.5 - 0.98), abs=1e-6)


def test_two_class_auroc_scores_class_one() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])
    labels = torch.tensor([0, 0, 1, 1])
    assert compute_metrics(probs, labels, ("a", "b"))["auroc"] == pytest.approx(3 / 4)


def test_auroc_averages_only_classes_that_occur(by_hand: dict[str, Any]) -> None:
    a = auroc_by_counting_pairs([0.7, 0.3, 0.0, 0.25], [True, True, False, False])
    b = auroc_by_counting_pairs([0.2, 0.6, 1.0, 0.25], [False, False, True, True])
    assert by_hand["auroc"] == pytest.approx((a + b) / 2)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_auroc_is_undefined_when_one_class_has_every_video(num_classes: int) -> None:
    probs, _ = random_scores(0, 5, num_classes)
    labels = torch.ones(5, dtype=torch.long)
    assert compute_metrics(probs, labels, "abcd"[:num_classes])["auroc"] is None


def test_top5_is_clamped_to_the_number_of_classes(by_hand: dict[str, Any]) -> None:
    probs, labels = random_scores(0, 20, 3)
    metrics = compute_metrics(probs, labels, ABC)
    assert (metrics["top5"], metrics["top5_k"]) == (1.0, 3)
    assert by_hand["top5_k"] == 2


def test_majority_baseline_prefers_the_training_counts() -> None:
    probs, labels = torch.full((4, 3), 1 / 3), torch.tensor([0, 0, 0, 2])
    from_test = compute_metrics(probs, labels, ABC)
    assert (from_test["majority_label"], from_test["majority_baseline"]) == ("a", 0.75)
    assert from_test["majority_source"] == "evaluated"
    from_train = compute_metrics(probs, labels, ABC, train_class_counts=[1, 2, 9])
    assert (from_train["majority_label"], from_train["majority_baseline"]) == ("c", 0.25)
    assert from_train["majority_source"] == "train"


def test_metrics_survive_json(by_hand: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(by_hand, allow_nan=False))
    assert plain["labels"] == ["a", "b", "c"]
    assert plain["per_class"]["c"] is None
    assert plain["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), num_videos=st.integers(1, 25), num_classes=st.integers(2, 8))
def test_metrics_follow_their_definitions(seed: int, num_videos: int, num_classes: int) -> None:
    probs, labels = random_scores(seed, num_videos, num_classes)
    metrics = compute_metrics(probs, labels, [f"class{c}" for c in range(num_classes)])
    ranks = [int((row > row[label]).sum()) for row, label in zip(probs, labels, strict=True)]
    assert metrics["top1"] == pytest.approx(sum(r == 0 for r in ranks) / num_videos)
    assert metrics["top5"] == pytest.approx(sum(r < min(5, num_classes) for r in ranks) / num_videos)
    assert sum(map(sum, metrics["confusion"])) == num_videos
    assert 0 <= metrics["calibration_error"] <= 1
    recalls = [r for r in metrics["per_class"].values() if r is not None]
    assert metrics["mean_class"] == pytest.approx(sum(recalls) / len(recalls))
    assert metrics["majority_baseline"] == pytest.approx(max(metrics["class_counts"].values()) / num_videos)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), num_videos=st.integers(2, 25), num_classes=st.integers(2, 5))
def test_auroc_is_the_share_of_ordered_pairs(seed: int, num_videos: int, num_classes: int) -> None:
    probs, labels = random_scores(seed, num_videos, num_classes, decimals=1)
    metrics = compute_metrics(probs, labels, [f"class{c}" for c in range(num_classes)])
    areas = []
    for c in [1] if num_classes == 2 else range(num_classes):
        positive = (labels == c).tolist()
        if any(positive) and not all(positive):
            areas.append(auroc_by_counting_pairs(probs[:, c].tolist(), positive))
    expected = sum(areas) / len(areas) if areas else None
    assert metrics["auroc"] == (pytest.approx(expected) if expected is not None else None)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_metrics_do_not_depend_on_the_order_of_videos(seed: int) -> None:
    probs, labels = random_scores(seed, 12, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    one = compute_metrics(probs, labels, "abcd")
    other = compute_metrics(probs[order], labels[order], "abcd")
    for key in ("top1", "top5", "auroc", "calibration_error", "loss"):
        assert one[key] == pytest.approx(other[key], abs=1e-6)
    assert one["confusion"] == other["confusion"]


@pytest.mark.parametrize(
    ("probs", "labels", "names", "message"),
    [
        (torch.zeros(0, 3), [], ABC, "no videos"),
        (torch.ones(1, 1), [0], ("a",), "at least 2 classes"),
        (torch.eye(3), [0, 1, 2], ("a", "b"), "3 distinct class names"),
        (torch.eye(3), [0, 1, 2], ("a", "b", "b"), "3 distinct class names"),
        (torch.eye(3), [0, 1, 3], ABC, "labels run from 0 to 3"),
        (torch.eye(3) * 4, [0, 1, 2], ABC, "not probabilities"),
        (torch.full((3, 3), math.nan), [0, 1, 2], ABC, "not probabilities"),
    ],
)
def test_unusable_scores_give_one_clear_line(
    probs: Tensor, labels: list[int], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        compute_metrics(probs, torch.tensor(labels, dtype=torch.long), names)
    assert "\n" not in str(caught.value)
