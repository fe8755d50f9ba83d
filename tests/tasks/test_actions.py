"""Several heads in one row of logits: each its own distribution, and actions as the products of their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tubelet.protocol import Protocol
from tubelet.tasks.actions import best_actions, by_head
from tubelet.tasks.choose import task_of

HEADS = {"noun": ("tap", "plate", "door"), "verb": ("take", "open"), "hand": ("left", "right", "both", "none")}
TASK = task_of(Protocol(labels=HEADS))


def logits(num_videos: int = 5) -> torch.Tensor:
    return torch.randn(num_videos, 9, generator=torch.Generator().manual_seed(0)) * 2


def test_every_head_is_a_distribution_of_its_own_columns() -> None:
    probs = TASK.probs(logits())
    start = 0
    for part, size in zip(by_head(probs, TASK.head_sizes), (3, 2, 4), strict=True):
        torch.testing.assert_close(part, logits()[:, start : start + size].softmax(-1))
        start += size


def test_one_head_is_a_softmax_and_several_labels_are_sigmoids() -> None:
    assert torch.equal(task_of(Protocol(labels={"label": tuple("abcdefghi")})).probs(logits()), logits().softmax(-1))
    several = Protocol(labels={"label": tuple("abcdefghi")}, multi_label=True)
    assert torch.equal(task_of(several).probs(logits()), logits().sigmoid())


@pytest.mark.parametrize("k", [1, 5, 24, 100, None])
def test_the_best_actions_are_those_of_the_full_outer_product(k: int | None) -> None:
    probs = TASK.probs(logits()).double()
    scores, classes = best_actions(probs, (3, 2, 4), k)
    nouns, verbs, hands = by_head(probs, (3, 2, 4))
    full = torch.einsum("bi,bj,bk->bijk", nouns, verbs, hands)
    best = full.flatten(1).sort(dim=1, descending=True)
    count = min(k or 24, 24)
    assert scores.shape == (5, count)
    torch.testing.assert_close(scores, best.values[:, :count])
    # The first head is the slowest axis of the outer product, as in the original.
    flat = np.ravel_multi_index(tuple(classes.movedim(-1, 0).numpy()), (3, 2, 4))
    assert flat.tolist() == best.indices[:, :count].tolist()


def test_equally_likely_actions_come_in_the_order_of_their_classes() -> None:
    _, classes = best_actions(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), (2, 2))
    assert classes[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_ranking_names_actions_and_the_classes_of_each_head() -> None:
    probs = torch.tensor([0.1, 0.2, 0.7, 0.4, 0.6, 0.25, 0.25, 0.3, 0.2])
    best = TASK.rank(probs, 2)
    assert best.labels == ("door + open + both", "door + open + left")
    assert best.probs == pytest.approx((0.7 * 0.6 * 0.3, 0.7 * 0.6 * 0.25))
    assert list(best.heads) == ["noun", "verb", "hand"]
    assert best.heads["noun"].labels == ("door", "plate")
    assert best.heads["verb"].probs == pytest.approx((0.6, 0.4))
    assert len(TASK.rank(probs).labels) == 24


def test_a_ranking_of_one_head_has_no_heads() -> None:
    best = task_of(Protocol(labels={"label": ("a", "b")})).rank(torch.tensor([0.2, 0.8]))
    assert (best.labels, best.heads) == (("b", "a"), {})


def test_sizes_that_do_not_add_up_are_an_error() -> None:
    with pytest.raises(ValueError, match="heads of 3 \\+ 2 classes do not fit 9 scores"):
        by_head(logits(), (3, 2))
