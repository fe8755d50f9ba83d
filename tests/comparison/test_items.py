"""Resampled test sets: weights stand for repeats, and the metrics are those of the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.manifest.manifest import Sample
from tubelet.errors import DataError
from tubelet.evaluation.intervals import group_weights
from tubelet.evaluation.scores import scores_csv
from tubelet.protocol import Protocol
from tubelet.studies.convergence import area_under_curve, steps_to
from tubelet.studies.items import (
    ItemScores,
    on_common_items,
    read_scores,
    resampled_metric,
)
from tubelet.tasks.choose import task_of
from tubelet.tasks.single_label import compute_metrics


def scores_of(num_items: int, num_classes: int) -> ItemScores:
    rng = np.random.default_rng(num_classes)
    # Two digits: some scores are equal.
    first = rng.integers(1, 40, (num_items, num_classes)) / 100
    probs = first / first.sum(axis=1, keepdims=True)
    return ItemScores(
        names=tuple(map(str, range(num_items))),
        items=tuple((str(i), "", "") for i in range(num_items)),
        classes=tuple(f"class {i}" for i in range(num_classes)),
        labels=np.arange(num_items) % num_classes,
        probs=probs,
    )


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("metric", ["top1", "auroc"])
def test_a_resampled_set_has_the_metric_of_the_items_it_repeats(metric: str, num_classes: int) -> None:
    scores, weights = scores_of(40, num_classes), group_weights([str(i) for i in range(40)], 5)
    found = resampled_metric([scores], metric, np.vstack([np.ones(40), weights]))
    for value, row in zip(found, [np.ones(40), *weights], strict=True):
        rows = np.repeat(np.arange(40), row.astype(int))
        probs, labels = torch.from_numpy(scores.probs[rows]), torch.from_numpy(scores.labels[rows])
        expected = compute_metrics(probs, labels, scores.classes)
        assert value == pytest.approx(expected[metric], abs=1e-6)


def test_a_set_without_a_class_has_no_area() -> None:
    weights = np.where(scores_of(40, 2).labels == 1, 0.0, 1.0)[None]
    assert np.isnan(resampled_metric([scores_of(40, 2)], "auroc", weights)).all()


def test_runs_meet_on_the_items_that_all_of_them_scored() -> None:
    whole = scores_of(6, 2)
    lacking = []
    for lost in (1, 4):
        rows = [row for row in range(6) if row != lost]
        names, items = zip(*((whole.names[row], whole.items[row]) for row in rows), strict=True)
        lacking.append(
            ItemScores(
                names=names, items=items, classes=whole.classes, labels=whole.labels[rows], probs=whole.probs[rows]
            )
        )
    found = on_common_items([whole, *lacking])
    for run in found:
        assert run.names == ("0", "2", "3", "5")
        np.testing.assert_array_equal(run.probs, whole.probs[[0, 2, 3, 5]])
        np.testing.assert_array_equal(run.labels, whole.labels[[0, 2, 3, 5]])
    assert on_common_items([whole, whole])[0] is whole


def test_scores_are_read_as_the_evaluation_wrote_them(tmp_path: Path) -> None:
    samples = [Sample(path="a.npz", entry=f"test_images[{i}]", labels=(i % 2,), split="test") for i in range(4)]
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.7, 0.3]])
    (tmp_path / "scores.csv").write_text(scores_csv(samples, probs, task_of(Protocol(labels={"label": ("x, y", "z")}))))
    scores = read_scores(tmp_path / "scores.csv")
    assert scores.classes == ("x, y", "z")
    assert scores.names[3] == "a.npz:test_images[3]"
    assert scores.labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(scores.probs, probs, atol=1e-6)


def test_scores_of_several_heads_are_refused(tmp_path: Path) -> None:
    samples = [Sample(path="a.mp4", labels=(0, 1), split="test")]
    names = {"noun": ("a", "b"), "verb": ("c", "d")}
    (tmp_path / "scores.csv").write_text(scores_csv(samples, torch.rand(1, 4), task_of(Protocol(labels=names))))
    with pytest.raises(DataError, match="expected scores of one head"):
        read_scores(tmp_path / "scores.csv")


def test_convergence_of_a_known_curve() -> None:
    steps, values = [10.0, 20.0, 40.0], [0.5, 0.7, 0.7]
    assert area_under_curve(steps, values) == pytest.approx((0.6 * 10 + 0.7 * 20) / 30)
    assert area_under_curve([10.0], [0.4]) == 0.4
    assert steps_to(steps, values, 0.7, is_lower_better=False) == 20
    assert steps_to(steps, values, 0.9, is_lower_better=False) is None
    assert steps_to(steps, values, 0.6, is_lower_better=True) == 10
