"""Actions: one class of each head, as one answer, and what their scores on a split are worth.

The probability of an action is the product of those of its classes. Top-1 counts the videos whose best action is the
true one, which is every head being right; top-k those whose true action is among the k best. Source:
google-research/scenic, commit 4a38d475, ``projects/vivit/model_utils.py`` (``joint_accuracy``, ``joint_top_k``).

    N  videos of a split    B  videos    K  classes of all heads together    k  best actions
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tubelet.errors import DataError
from tubelet.tasks.class_scores import CALIBRATION_BINS, functional
from tubelet.tasks.metric import Values

JOINT = " + "  # between the class names of an action
Action = tuple[int, ...]  # class of each head


def by_head(scores: Float[Tensor, "*B K"], sizes: Sequence[int]) -> tuple[Float[Tensor, "*B _"], ...]:
    """The columns of each head.

    Raises:
        ValueError: the sizes do not add up to K.
    """
    if sum(sizes) != scores.shape[-1]:
        raise ValueError(f"heads of {' + '.join(map(str, sizes))} classes do not fit {scores.shape[-1]} scores")
    return scores.split(list(sizes), dim=-1)


def action_name(names: Iterable[str]) -> str:
    """How an action is written, from the class name of each head: ``door + open``."""
    return JOINT.join(names)


def best_actions(
    probs: Float[Tensor, "B K"], sizes: Sequence[int], k: int | None = None
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k heads"]]:
    """The most probable actions of each video, best first: their probabilities and the class of each head.

    The product over all heads is never laid out in full: the k best pairs are made of the k best of each side.

    Args:
        probs: of all heads side by side, a distribution over each.
        sizes: number of classes of each head.
        k: how many, at most as many as there are. None means all.
    """
    num_videos = len(probs)
    scores = probs.new_ones(num_videos, 1)
    classes = torch.zeros(num_videos, 1, 0, dtype=torch.int64, device=probs.device)
    for part in by_head(probs, sizes):
        index = part.argsort(dim=-1, descending=True, stable=True)[:, :k]  # B j
        joint = scores[:, :, None] * part.gather(1, index)[:, None, :]  # B i j
        num_before, num_added = joint.shape[1:]
        pairs = torch.cat(
            [
                classes[:, :, None, :].expand(-1, -1, num_added, -1),
                index[:, None, :, None].expand(-1, num_before, -1, -1),
            ],
            dim=-1,
        ).flatten(1, 2)  # B (i j) heads
        order = joint.flatten(1).argsort(dim=-1, descending=True, stable=True)[:, :k]
        scores = joint.flatten(1).gather(1, order)
        classes = pairs.gather(1, order[:, :, None].expand(-1, -1, pairs.shape[-1]))
    return scores, classes


@dataclass(frozen=True, kw_only=True)
class ActionScores:
    """The probabilities of the videos that have a label of every head, and the metrics of each head."""

    probs: Float[Tensor, "N K"]
    labels: Int[Tensor, "N heads"]
    names: Sequence[Sequence[str]]
    heads: Mapping[str, Values]
    k: int
    train_actions: Sequence[Action] | None  # None means that they are not known

    @cached_property
    def best(self) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k heads"]]:
        """The best actions."""
        return best_actions(self.probs, [len(names) for names in self.names], self.k)

    @cached_property
    def right(self) -> Bool[Tensor, "N k"]:
        """Which of the best actions is the true one."""
        return (self.best[1] == self.labels[:, None]).all(dim=2)

    @cached_property
    def true(self) -> list[Action]:
        """The action of each video."""
        return [tuple(row) for row in self.labels.tolist()]

    @cached_property
    def trained(self) -> list[Action]:
        """The training actions of which every head is known."""
        return [action for action in self.train_actions or () if min(action) >= 0]

    @cached_property
    def majority(self) -> Action:
        """The most frequent action."""
        return Counter(self.trained or self.true).most_common(1)[0][0]

    @property
    def majority_label(self) -> str:
        """Its name."""
        return action_name(names[i] for names, i in zip(self.names, self.majority, strict=True))


def mean_class(scores: ActionScores) -> float:
    hits = Counter(action for action, hit in zip(scores.true, scores.right[:, 0].tolist(), strict=True) if hit)
    shares = torch.tensor([hits[action] / n for action, n in Counter(scores.true).items()], dtype=torch.float64)
    return float(shares.mean())


def calibration_error(scores: ActionScores) -> float:
    confidence = scores.best[0][:, 0].clamp(max=1 - 2**-24)  # 1 would fall outside the last bin
    return float(functional().binary_calibration_error(confidence, scores.right[:, 0].long(), n_bins=CALIBRATION_BINS))


def action_scores(
    probs: Float[Tensor, "N K"],
    labels: Int[Tensor, "N heads"],
    class_names: Sequence[Sequence[str]],
    heads: Mapping[str, Values],
    k: int = 5,
    train_actions: Sequence[Action] | None = None,
) -> ActionScores:
    """The scores of the videos that have a label of every head.

    Args:
        probs: of all heads side by side, a distribution over each.
        labels: true class of each head; -1 where it is not known.
        class_names: of each head.
        heads: the metrics of each head.
        k: the k of top-k, clamped to the number of actions.
        train_actions: of the training videos. The majority baseline answers their most frequent one, as a model
            could. None means that it answers that of ``labels``.

    Raises:
        DataError: no video has a label of every head.
    """
    known = (labels >= 0).all(dim=1)
    if not known.any():
        raise DataError(f"no video has a label of every head ({', '.join(heads)}): there are no actions to count")
    return ActionScores(
        probs=probs.detach().double().cpu()[known],
        labels=labels.cpu()[known],
        names=class_names,
        heads=heads,
        k=k,
        train_actions=train_actions,
    )
