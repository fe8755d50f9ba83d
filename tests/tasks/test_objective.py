"""The loss of several heads, of missing labels, of several labels per video, and of balanced classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tubelet.data.clips.mixing import Mixture
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.tasks import multi_label, single_label
from tubelet.tasks.choose import task_of
from tubelet.tasks.multi_head import MeanCrossEntropy
from tubelet.tasks.multi_label import BinaryCrossEntropy
from tubelet.tasks.single_label import CrossEntropy
from tubelet.tasks.task import Objective

SIZES = (3, 2)
EVERY = slice(None)


def logits(num_videos: int = 6) -> Tensor:
    return torch.randn(num_videos, 5, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([[0, 0], [1, 1], [2, 0], [0, 1], [1, 0], [2, 1]])
ONES = torch.ones(6)


def loss_of(objective: Objective, labels: Tensor, weight: Tensor = ONES) -> tuple[float, float]:
    loss, right = objective(logits(), labels, objective.shares(labels, weight))
    return loss.item(), right.item()


def test_the_loss_is_the_plain_mean_of_the_heads_each_smoothed_with_its_own_classes() -> None:
    loss, right = loss_of(MeanCrossEntropy(head_sizes=SIZES, label_smoothing=0.2), LABELS)
    nouns, verbs = logits()[:, :3], logits()[:, 3:]
    of_heads = [F.cross_entropy(p, LABELS[:, i], label_smoothing=0.2) for i, p in enumerate((nouns, verbs))]
    assert loss == pytest.approx((sum(of_heads) / 2).item())
    hits = (nouns.argmax(1) == LABELS[:, 0]) & (verbs.argmax(1) == LABELS[:, 1])
    assert right == pytest.approx(hits.float().mean().item())


def test_one_head_is_the_cross_entropy_over_all_logits() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    loss, right = loss_of(CrossEntropy(), labels)
    assert loss == pytest.approx(F.cross_entropy(logits(), labels).item())
    assert right == pytest.approx((logits().argmax(1) == labels).float().mean().item())


def test_a_missing_label_takes_no_part_in_its_head_and_an_unread_video_in_none() -> None:
    labels, weight = LABELS.clone(), ONES.clone()
    labels[0, 0], labels[3, 1], weight[5] = -1, -1, 0
    loss, right = loss_of(MeanCrossEntropy(head_sizes=SIZES), labels, weight)
    noun = F.cross_entropy(logits()[1:5, :3], labels[1:5, 0])
    verbs = [0, 1, 2, 4]
    verb = F.cross_entropy(logits()[verbs, 3:], labels[verbs, 1])
    assert loss == pytest.approx(((noun + verb) / 2).item())
    whole = [1, 2, 4]
    hits = (logits()[whole, :3].argmax(1) == labels[whole, 0]) & (logits()[whole, 3:].argmax(1) == labels[whole, 1])
    assert right == pytest.approx(hits.float().mean().item())


def test_a_head_without_any_label_in_a_batch_adds_nothing() -> None:
    labels = LABELS.clone()
    labels[:, 1] = -1
    loss, _ = loss_of(MeanCrossEntropy(head_sizes=SIZES), labels)
    assert loss == pytest.approx(F.cross_entropy(logits()[:, :3], labels[:, 0]).item() / 2)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_the_parts_of_a_batch_add_up_to_the_whole(is_multi_label: bool) -> None:
    labels = (torch.arange(30).reshape(6, 5) % 3 == 0).long() if is_multi_label else LABELS.clone()
    if not is_multi_label:
        labels[1, 0] = -1
    objective = (
        BinaryCrossEntropy(label_smoothing=0.1)
        if is_multi_label
        else MeanCrossEntropy(head_sizes=SIZES, label_smoothing=0.1)
    )
    shares = objective.shares(labels, ONES)
    parts = [objective(logits()[rows], labels[rows], shares[rows])[0] for rows in (slice(0, 1), slice(1, 6))]
    whole = objective(logits(), labels, shares)[0]
    torch.testing.assert_close(sum(parts, torch.zeros(())), whole)


def test_a_mixed_batch_has_the_loss_of_the_mixed_labels() -> None:
    mixture = Mixture(partner=torch.arange(6).flip(0), share=0.7)
    objective = MeanCrossEntropy(head_sizes=SIZES, label_smoothing=0.1)
    shares = objective.shares(LABELS, ONES)
    loss = sum((objective(logits(), *t)[0] for t in mixture.labels(LABELS, shares, EVERY)), torch.zeros(()))
    expected = torch.zeros(())
    for i, (part, size) in enumerate(zip(logits().split(list(SIZES), dim=1), SIZES, strict=True)):
        one_hot = F.one_hot(LABELS[:, i], size).float()
        expected += F.cross_entropy(part, 0.7 * one_hot + 0.3 * one_hot.flip(0), label_smoothing=0.1) / 2
    torch.testing.assert_close(loss, expected)


def test_several_labels_per_video_are_binary_cross_entropies() -> None:
    has = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]])
    objective = BinaryCrossEntropy()
    loss, right = objective(logits(3), has, objective.shares(has, torch.ones(3)))
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits(3), has.float()))
    best = logits(3).argmax(1)
    assert right.item() == pytest.approx(has[torch.arange(3), best].float().mean().item())


def manifest(labels: list[tuple[int, ...]], names: dict[str, tuple[str, ...]], multi_label: bool = False) -> Manifest:
    rows = tuple(Sample(path=f"{i}.mp4", labels=label, split="train") for i, label in enumerate(labels))
    return Manifest(root=Path(), samples=rows, class_names=names, layout="files", multi_label=multi_label)


def test_balanced_weights_make_classes_count_the_same_and_keep_the_mean_at_one() -> None:
    train = manifest([(0, 0)] * 6 + [(1, -1)] * 2 + [(1, 1)], {"noun": ("a", "b", "c"), "verb": ("x", "y")})
    noun, verb = (single_label.balanced_weights(train, head) for head in ("noun", "verb"))
    assert noun.tolist() == pytest.approx([9 / 12, 9 / 6, 1.0])  # c never occurs
    assert verb.tolist() == pytest.approx([7 / 12, 7 / 2])  # seven rows have a verb
    assert 6 * noun[0] == pytest.approx(3 * noun[1])
    assert (6 * noun[0] + 3 * noun[1]).item() / 9 == pytest.approx(1)


def test_a_weighted_video_counts_by_the_weight_of_its_class() -> None:
    train = manifest([(0,)] * 3 + [(1,)], {"label": ("a", "b")})
    labels, weights = torch.tensor([0, 0, 0, 1]), torch.tensor([4 / 6, 2.0])
    objective = task_of(train).objective(train, class_weights="balanced")
    each = F.cross_entropy(logits(4)[:, :2], labels, reduction="none")
    loss, _ = objective(logits(4)[:, :2], labels, objective.shares(labels, torch.ones(4)))
    torch.testing.assert_close(loss, (each * weights[labels]).mean())


def test_balanced_weights_of_several_labels_weigh_with_against_without() -> None:
    train = manifest([(0, 1), (0,), (0,), ()], {"label": ("a", "b", "c")}, multi_label=True)
    weights = multi_label.balanced_weights(train, "label")
    assert weights.tolist() == pytest.approx([1 / 3, 3.0, 1.0])
    has = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])
    objective = task_of(train).objective(train, class_weights="balanced")
    loss, _ = objective(logits(4)[:, :3], has, objective.shares(has, torch.ones(4)))
    expected = F.binary_cross_entropy_with_logits(logits(4)[:, :3], has.float(), pos_weight=weights)
    torch.testing.assert_close(loss, expected)
