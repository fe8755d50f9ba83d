"""Heads on features: the minimum that another library finds, folds that keep units together, and no leak by group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tubelet.errors import ConfigError, DataError
from tubelet.probing.config import ProbeConfig
from tubelet.probing.folds import folds_without_a_class, grouped_folds
from tubelet.probing.heads import (
    LinearSetting,
    NeighborSetting,
    Standardization,
    folded,
    linear_logits,
    neighbor_logits,
    settings_of,
    train_linear,
)
from tubelet.probing.measure import Clips, all_logits, few_shot, few_shot_notes, measure, score, training_counts
from tubelet.probing.result import paired_interval


def clusters(num: int, width: int, num_classes: int, seed: int = 0, views: int = 1) -> tuple[Tensor, Tensor]:
    """Features around a center of each class, and classes as 0 and 1."""
    rng = torch.Generator().manual_seed(seed)
    label = torch.arange(num) % num_classes
    centers = torch.randn(num_classes, width, generator=rng)
    features = centers[label][:, None] + 2 * torch.randn(num, views, width, generator=rng)
    return features, torch.nn.functional.one_hot(label, num_classes).float()


@pytest.mark.parametrize(("num", "width"), [(40, 6), (20, 60)])
def test_a_linear_head_is_the_minimum_that_scikit_learn_finds(num: int, width: int) -> None:
    features, targets = clusters(num, width, 3)
    (weight,), (bias,) = train_linear(features, targets, [LinearSetting(penalty=5.0)], "softmax")
    theirs = LogisticRegression(C=1 / 5, tol=1e-8, max_iter=5000).fit(features[:, 0].numpy(), targets.argmax(-1))
    ours = linear_logits(features, weight[None], bias[None])[0].softmax(-1)
    np.testing.assert_allclose(ours, theirs.predict_proba(features[:, 0].numpy()), atol=1e-4)


def test_views_of_a_clip_count_as_much_as_one() -> None:
    features, targets = clusters(30, 5, 2)
    once = train_linear(features, targets, [LinearSetting(penalty=2.0)], "softmax")
    twice = train_linear(features.repeat(1, 2, 1), targets, [LinearSetting(penalty=2.0)], "softmax")
    torch.testing.assert_close(once[0], twice[0], atol=1e-4, rtol=1e-3)


def test_several_labels_are_logistic_regressions_side_by_side() -> None:
    features, targets = clusters(40, 6, 3)
    targets = (targets + targets.roll(1, 0)).clamp(max=1)
    (weight,), (bias,) = train_linear(features, targets, [LinearSetting(penalty=3.0)], "sigmoid")
    probs = linear_logits(features, weight[None], bias[None])[0].sigmoid()
    for k in range(3):
        theirs = LogisticRegression(C=1 / 3, tol=1e-8, max_iter=5000).fit(features[:, 0].numpy(), targets[:, k])
        np.testing.assert_allclose(probs[:, k], theirs.predict_proba(features[:, 0].numpy())[:, 1], atol=1e-3)


def test_a_folded_head_takes_features_as_they_are() -> None:
    features, targets = clusters(30, 8, 3, views=2)
    features = features * torch.linspace(0.1, 50, 8) + 7
    by = Standardization.of(features)
    weight, bias = train_linear(by(features), targets, [LinearSetting(penalty=10.0)], "softmax")
    own_weight, own_bias = folded(weight[0], bias[0], by)
    plain = (features @ own_weight.T + own_bias).mean(1)
    torch.testing.assert_close(plain, linear_logits(by(features), weight, bias)[0], atol=1e-4, rtol=1e-4)


def test_neighbors_vote_and_the_nearest_decides() -> None:
    features, targets = clusters(30, 6, 3)
    logits = neighbor_logits(features, targets, features, 1, "softmax")
    assert torch.equal(logits.argmax(-1), targets.argmax(-1))
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(30))


def test_folds_keep_units_together_and_spread_classes() -> None:
    units = [f"u{i // 3}" for i in range(60)]
    labels = np.eye(2)[[(i // 6) % 2 for i in range(60)]]
    folds = grouped_folds(units, labels, 5, seed=1)
    assert all(len({folds[i] for i in range(60) if units[i] == unit}) == 1 for unit in units)
    for fold in range(5):
        assert labels[folds == fold].sum(0).min() >= 3
    assert folds_without_a_class(folds, units, labels, ("a", "b")) == []
    few, one = (np.eye(2)[[int(i < number) for i in range(60)]] for number in (6, 3))
    (line,) = folds_without_a_class(folds, units, few, ("a", "b"))
    assert line.startswith("class 'b' has 0 clips in a fold (")
    scarce = np.eye(2)[[int(i in (0, 3, 6, 9, 12, 15, 18, 21)) for i in range(8 * 3)]]
    apart = np.repeat(np.arange(4), 6)
    scarce[(apart == 3) & (np.arange(24) == 21)] = [1, 0]  # of its two clips one is left
    (line,) = folds_without_a_class(apart, [str(i) for i in range(24)], scarce, ("a", "b"))
    assert line == "class 'b' has 1 clip in a fold (2, 2, 2, 1)"
    (line,) = folds_without_a_class(folds, units, one, ("a", "b"))
    assert line == "class 'b': one group, never in both training and test: its 3 clips count as wrong"
    with pytest.raises(DataError, match="4 groups cannot be parted into 5 folds"):
        grouped_folds(["a", "b", "c", "d"], np.ones((4, 1)), 5, seed=0)
    with pytest.raises(DataError, match=r"^1 group cannot be parted into 5 folds: .* takes 3 groups or more"):
        grouped_folds(["a"] * 4, np.ones((4, 1)), 5, seed=0)


def test_what_groups_give_away_is_not_counted() -> None:
    """Every group has features of its own and labels by chance: heads that saw the group would be right."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    label = rng.integers(0, 2, 40)[groups]
    centers = torch.from_numpy(rng.normal(size=(40, 30)) * 5).float()
    features = (centers[groups] + 0.1 * torch.randn(160, 30, generator=torch.Generator().manual_seed(0)))[:, None]
    targets = torch.nn.functional.one_hot(torch.from_numpy(label), 2).float()
    config = ProbeConfig(penalties=(10.0,))

    def accuracy(folds: np.ndarray) -> float:
        clips = Clips(features=features, targets=targets, folds=folds, loss="softmax")
        return score(measure(clips, config).logits, clips)

    by_group = grouped_folds([str(g) for g in groups], targets.numpy(), 5, seed=0)
    by_clip = grouped_folds([str(i) for i in range(160)], targets.numpy(), 5, seed=0)
    assert accuracy(by_clip) > 0.85
    assert accuracy(by_group) < 0.7


def test_more_clips_per_class_are_better_and_all_are_not_exceeded() -> None:
    features, targets = clusters(120, 10, 3)
    folds = grouped_folds([str(i) for i in range(120)], targets.numpy(), 4, seed=0)
    clips = Clips(features=features, targets=targets, folds=folds, loss="softmax")
    chosen = [LinearSetting(penalty=10.0)] * 4
    most = int(training_counts(folds, targets.numpy()).max())
    config = ProbeConfig(few_shot=(1, most, 1000), num_draws=2)
    curve = few_shot(clips, chosen, config)
    assert set(curve) == {1, most}  # a point of which every draw would be the same is none
    assert curve[1]["mean"] < curve[most]["mean"]
    assert curve[most]["sd"] == 0
    labels, left_out = targets.numpy(), f"few-shot 1000: left out, no class has more than {most} training clips"
    assert few_shot_notes(folds, labels, ("a", "b", "c"), config) == [left_out]
    labels[:, 2] = 0
    labels[:2, 2] = 1
    rare = few_shot_notes(folds, labels, ("a", "b", "c"), ProbeConfig(few_shot=(5,)))
    assert len(rare) == 1
    assert rare[0].startswith("few-shot 5: of some classes all there are in a fold: 'c' ")


def test_an_interval_of_differences_draws_groups() -> None:
    differences = torch.tensor([1.0] * 8 + [0.0] * 8)
    narrow = paired_interval([str(i) for i in range(16)], differences)
    wide = paired_interval(["a"] * 8 + ["b"] * 8, differences)
    assert wide == (0.0, 1.0)
    assert 0 < narrow[0] < 0.5 < narrow[1] < 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"heads": ()}, "heads: name"), ({"folds": 2}, "folds must be at least 3"), ({"few_shot": (0,)}, "positive")],
)
def test_a_probe_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**fields)  # type: ignore[arg-type]


def test_every_head_that_is_asked_for_is_tried() -> None:
    assert len(settings_of(ProbeConfig(heads=("linear", "knn")))) == 10
    assert [str(s) for s in settings_of(ProbeConfig(heads=("knn",), neighbors=(3,)))] == ["3-NN"]


def test_a_learning_curve_takes_the_head_that_each_fold_chose_without_its_clips() -> None:
    """The one neighbor of fold 0 is its own training clip; every other fold answers by all of them, which is a tie."""
    features, targets = clusters(90, 10, 3)
    folds = grouped_folds([str(i) for i in range(90)], targets.numpy(), 3, seed=0)
    clips = Clips(features=features, targets=targets, folds=folds, loss="softmax")
    most = int(training_counts(folds, targets.numpy()).max())
    config = ProbeConfig(few_shot=(most,), num_draws=1)

    def curve(*neighbors: int) -> float:
        return few_shot(clips, [NeighborSetting(neighbors=k) for k in neighbors], config)[most]["mean"]

    of_fold = [
        all_logits(clips.part(folds != f), clips.part(folds == f), [NeighborSetting(neighbors=k)])[0]
        for f, k in enumerate((1, 5, 20))
    ]
    right = sum(int((of.argmax(-1) == targets[folds == f].argmax(-1)).sum()) for f, of in enumerate(of_fold))
    assert curve(1, 5, 20) == pytest.approx(right / 90)
    assert curve(1, 5, 20) != curve(20, 5, 1)
