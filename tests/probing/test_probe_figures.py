"""Figures over folds: shares are pooled, ranks are not, and every figure has its interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from tubelet.evaluation.intervals import group_weights
from tubelet.probing.figures import fold_intervals, fold_metrics
from tubelet.tasks.class_scores import resampled_mean_class
from tubelet.tasks.multi_label import MultiLabel
from tubelet.tasks.single_label import SingleLabel

FOLDS = np.arange(60) % 3
LABELS = np.random.default_rng(0).integers(0, 2, 60)
TASK = SingleLabel(labels={"label": ("a", "b")})


def shifted() -> torch.Tensor:
    """Logits that order each fold right but for noise, on scales that differ between folds."""
    scores = LABELS + np.random.default_rng(1).normal(size=60) + 6.0 * (FOLDS - 1)
    return torch.from_numpy(np.stack([-scores, scores], axis=1)).float().softmax(-1)


def test_areas_under_curves_are_means_of_folds_and_shares_are_pooled() -> None:
    probs = shifted()
    found = fold_metrics(TASK, [(label,) for label in LABELS.tolist()], probs, FOLDS)
    areas = [roc_auc_score(LABELS[f == FOLDS], probs[f == FOLDS, 1]) for f in range(3)]
    assert found["auroc"] == pytest.approx(np.mean(areas))
    assert abs(found["auroc"] - roc_auc_score(LABELS, probs[:, 1])) > 0.1
    assert found["top1"] == pytest.approx((probs.argmax(-1).numpy() == LABELS).mean())


def test_average_precision_is_a_mean_of_folds_too_and_of_the_classes_that_a_fold_has() -> None:
    task = MultiLabel(labels={"label": ("a", "b")})
    rng = np.random.default_rng(2)
    labels = [tuple(k for k in range(2) if rng.random() < 0.5 and (k == 0 or FOLDS[i] == 0)) for i in range(60)]
    probs = torch.from_numpy(rng.random((60, 2)))
    found = fold_metrics(task, labels, probs, FOLDS)
    of_folds = [task.measure(probs[f == FOLDS], task.targets(labels)[f == FOLDS]) for f in range(3)]
    assert found["mean_average_precision"] == pytest.approx(np.mean([f["mean_average_precision"] for f in of_folds]))
    assert found["per_class"]["b"] == pytest.approx(of_folds[0]["per_class"]["b"])
    unlabeled = [() if FOLDS[i] == 2 else row for i, row in enumerate(labels)]
    rest = fold_metrics(task, unlabeled, probs, FOLDS)
    expected = np.mean([f["mean_average_precision"] for f in of_folds[:2]])
    assert rest["mean_average_precision"] == pytest.approx(expected)


def test_every_figure_has_an_interval_where_each_clip_is_a_group_of_its_own() -> None:
    probs, labels = shifted(), [(label,) for label in LABELS.tolist()]
    alone = fold_intervals(TASK, labels, probs, FOLDS, [str(i) for i in range(60)])
    assert set(alone) == {"top1", "mean_class", "auroc"}
    metrics = fold_metrics(TASK, labels, probs, FOLDS)
    assert all(low < metrics[key] < high for key, (low, high) in alone.items())
    right = float(metrics["top1"])
    half = 1.96 * (right * (1 - right) / 60) ** 0.5
    assert alone["top1"] == pytest.approx([right - half, right + half], abs=0.03)
    grouped = fold_intervals(TASK, labels, probs, FOLDS, [str(i // 12) for i in range(60)])
    assert grouped != alone
    assert fold_intervals(TASK, labels, probs, FOLDS, ["one"] * 60) == {}


def test_the_mean_over_classes_of_many_sets_is_that_of_each_set() -> None:
    rng = np.random.default_rng(3)
    probs, labels = rng.random((30, 4)), np.append(rng.integers(0, 3, 29), 3)  # class 3 is not in every set
    weights = group_weights([str(i) for i in range(30)], 20)
    found = resampled_mean_class(probs, labels, weights)
    for values, weight in zip(found, weights, strict=True):
        drawn = np.repeat(np.arange(30), weight.astype(int))
        answers = probs[drawn].argmax(1)
        known = np.isin(answers, np.unique(labels[drawn]))
        expected = np.mean([(answers[labels[drawn] == k] == k).mean() for k in np.unique(labels[drawn])])
        assert values == pytest.approx(expected)
        if known.all():
            assert values == pytest.approx(balanced_accuracy_score(labels[drawn], answers))
