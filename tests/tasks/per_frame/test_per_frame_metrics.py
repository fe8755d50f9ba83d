"""Figures of films: equal to what other definitions of them give, and resampled by film."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision, binary_cohen_kappa, binary_f1_score

from tubelet.data.manifest.manifest import Manifest
from tubelet.tasks.choose import task_of_metrics
from tubelet.tasks.per_frame.loss import StepLoss
from tubelet.tasks.per_frame.matching import boundary_pairs, matched
from tubelet.tasks.per_frame.scores import FilmScores
from tubelet.tasks.per_frame.targets import seen_classes
from tubelet.tasks.per_frame.task import PerFrame

NAMES = ("groom", "rear")


def film(seed: int, steps: int = 300, *, one: bool = False) -> FilmScores:
    rng = np.random.default_rng(seed)
    codes = np.repeat(rng.integers(0, 3 if one else 4, size=steps // 10), 10)
    codes[:20] = -1
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.03, 0.05, size=steps))])
    names = ("background", *NAMES) if one else NAMES
    seen = seen_classes(codes, len(names), one=one)
    noise = rng.uniform(size=seen.shape)
    probs = np.where(seen, 0.35 + 0.65 * noise, 0.65 * noise)
    probs = probs / probs.sum(1, keepdims=True) if one else probs
    truth = {}
    for k, name in enumerate(names):
        changes = np.flatnonzero(np.diff(np.r_[False, seen[:, k], False])).reshape(-1, 2)
        truth[name] = [(float(edges[a]), float(edges[b])) for a, b in changes]
    return FilmScores(name=f"f{seed}", probs=probs, codes=codes, edges=edges, truth=truth)


TASK = PerFrame(labels={"label": NAMES}, one=False)
FILMS = [film(seed) for seed in range(4)]


def test_frame_figures_are_those_of_torchmetrics_over_labeled_steps() -> None:
    values = TASK.measure_films(FILMS)
    probs = torch.from_numpy(np.concatenate([f.probs[f.codes >= 0] for f in FILMS]))
    seen = torch.from_numpy(np.concatenate([seen_classes(f.codes, 2, one=False)[f.codes >= 0] for f in FILMS])).long()
    precisions = [float(binary_average_precision(probs[:, k], seen[:, k])) for k in range(2)]
    assert values["frame_mean_average_precision"] == pytest.approx(sum(precisions) / 2, abs=1e-6)
    assert list(values["per_class"].values()) == pytest.approx(precisions, abs=1e-6)
    found = (probs >= 0.5).long()
    f1 = [float(binary_f1_score(found[:, k], seen[:, k])) for k in range(2)]
    assert values["macro_f1"] == pytest.approx(sum(f1) / 2, abs=1e-6)
    kappas = [float(binary_cohen_kappa(found[:, k], seen[:, k])) for k in range(2)]
    assert values["kappa"] == pytest.approx(sum(kappas) / 2, abs=1e-6)
    assert values["num_steps"] == 4 * 280
    assert task_of_metrics(values) is PerFrame


def test_perfect_scores_are_perfect_and_boundaries_exact() -> None:
    for one in (False, True):
        names = ("background", *NAMES) if one else NAMES
        films = [film(seed, one=one) for seed in range(3)]
        task = PerFrame(labels={"label": names}, one=one)
        ideal = [
            dataclasses.replace(f, probs=np.clip(seen_classes(f.codes, len(names), one=one), 0.01, 0.99)) for f in films
        ]
        values = task.measure_films(ideal)
        for key in ("frame_mean_average_precision", "macro_f1", "bout_f1_50", "kappa"):
            assert values[key] == 1.0
        assert values["boundary_error_seconds"] == 0.0
        assert all(row["num_bias"] == 0 and row["seconds_bias"] == 0 for row in values["bouts"].values())
        assert values["labels"] == list(NAMES)


def test_each_bout_is_matched_once_from_the_best_on() -> None:
    found, true = [(0.0, 1.0), (0.9, 2.0), (5.0, 6.0)], [(0.0, 2.0), (5.1, 6.0)]
    assert matched(found, true, 0.5) == [(2, 1), (1, 0)]
    assert matched(found, true, 0.6) == [(2, 1)]
    assert boundary_pairs(found, true, 0.5) == [(5.0, 5.1), (6.0, 6.0), (0.9, 0.0), (2.0, 2.0)]


def test_boundary_errors_are_counted_in_frames_of_the_film_too() -> None:
    times = np.array([0.0, 0.04, 0.1, 0.14, 0.2, 0.3, 0.36, 0.4])  # of eight frames, two of each step
    edges = np.append(times[::2], 0.46)
    codes = np.array([0, 1, 1, 0])
    probs = np.array([[0.1], [0.9], [0.1], [0.1]])  # ends one step before the truth
    made = FilmScores(name="f", probs=probs, codes=codes, edges=edges, truth={"run": [(0.1, 0.36)]}, frame_times=times)
    values = PerFrame(labels={"label": ("run",)}, one=False).measure_films([made])
    assert values["boundary_error_frames"] == 1.0  # the median of 0 at the start and 2 at the stop
    assert values["boundary_error_seconds"] == pytest.approx(0.08)
    assert TASK.measure_films(FILMS)["boundary_error_frames"] is None


def test_the_agreement_of_observers_stands_beside_the_model_s() -> None:
    values = TASK.measure_films(FILMS)
    assert "of observers" not in TASK.headline(values)
    rng = np.random.default_rng(0)
    other = np.where(rng.uniform(size=300) < 0.1, rng.integers(0, 4, size=300), FILMS[0].codes)
    seen = dataclasses.replace(FILMS[0], others=(other,))
    values = TASK.measure_films([seen, *FILMS[1:]])
    labeled = (FILMS[0].codes >= 0) & (other >= 0)
    first, second = (
        torch.from_numpy(seen_classes(codes[labeled], 2, one=False)).long() for codes in (FILMS[0].codes, other)
    )
    kappas = [float(binary_cohen_kappa(second[:, k], first[:, k])) for k in range(2)]
    assert values["observer_kappa"] == pytest.approx(sum(kappas) / 2, abs=1e-6)
    assert values["observers"]["num_films"] == 1
    assert f"Cohen's kappa of observers {values['observer_kappa']:.3f}" in TASK.headline(values)


def test_intervals_hold_the_figure_and_shrink_to_nothing_for_equal_films() -> None:
    values = TASK.measure_films(FILMS, with_intervals=True)
    for key in ("frame_mean_average_precision", "macro_f1", "bout_f1_50", "kappa"):
        low, high = values["intervals"][key]
        assert low <= values[key] <= high
        assert low < high
    same = TASK.measure_films([FILMS[0]] * 4, with_intervals=True)
    assert "macro_f1" not in same["intervals"]
    assert TASK.measure_films(FILMS[:1], with_intervals=True)["intervals"] == {}


def test_two_observers_are_compared() -> None:
    shifted = np.roll(FILMS[0].codes, 3)
    first = dataclasses.replace(FILMS[0], others=(shifted,))
    agreement = TASK.measure_films([first])["observers"]
    assert agreement["num_films"] == 1
    assert 0.3 < agreement["kappa"] < 1
    assert TASK.measure_films([dataclasses.replace(FILMS[0], others=(FILMS[0].codes,))])["observers"]["kappa"] == 1.0


def test_bouts_in_unlabeled_stretches_count_nowhere() -> None:
    probs = FILMS[0].probs.copy()
    probs[:20] = 0.99
    loud = TASK.measure_films([dataclasses.replace(FILMS[0], probs=probs)])
    probs[:20] = 0.01
    quiet = TASK.measure_films([dataclasses.replace(FILMS[0], probs=probs)])
    for key in ("frame_mean_average_precision", "macro_f1", "kappa"):
        assert loud[key] == quiet[key]


@pytest.mark.parametrize("one", [False, True])
def test_the_loss_is_the_mean_over_labeled_steps_however_a_batch_is_cut(one: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, 3, generator=generator)
    targets = torch.randint(0, 3 if one else 8, (4, 6), generator=generator)
    targets[0, :4] = -1
    targets[3] = -1
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0])
    loss = StepLoss(one=one)
    shares = loss.shares(targets, weight)
    whole, right = loss(logits, targets, shares)
    known = targets >= 0
    if one:
        expected = torch.nn.functional.cross_entropy(logits[known], targets[known])
        assert right == pytest.approx((logits[known].argmax(-1) == targets[known]).float().mean().item())
    else:
        bits = (targets[known][:, None] >> torch.arange(3)) & 1
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], bits.float())
    assert whole == pytest.approx(expected.item(), abs=1e-6)
    parts = [loss(logits[rows], targets[rows], shares[rows])[0] for rows in (slice(0, 1), slice(1, 4))]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-6)  # type: ignore[union-attr]


def test_balanced_weights_make_both_sides_of_a_class_count_the_same() -> None:
    task = dataclasses.replace(TASK, step_counts=(10, 50), num_labeled=100)
    train = Manifest(root=Path(), samples=(), class_names={"label": NAMES}, layout="files")
    weights = task.objective(train, class_weights="balanced").class_weights
    assert weights is not None
    assert weights.tolist() == pytest.approx([9.0, 1.0])


def test_windows_of_different_lengths_are_unlabeled_behind_their_end() -> None:
    assert TASK.targets([(1, 2, 3), ()]).tolist() == [[1, 2, 3], [-1, -1, -1]]
    assert math.isfinite(TASK.measure(torch.rand(5, 2), torch.tensor([0, 1, 2, 3, -1]))["loss"])  # type: ignore[arg-type]
