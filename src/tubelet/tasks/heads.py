"""Several heads in one row of logits: the classes of all heads lie side by side, in the order of ``Protocol.labels``.

EPIC-KITCHENS with its nouns and verbs is the example: one linear layer gives 300 noun logits and then 97 verb logits.
An *action* is one class of each head; its probability is the product of theirs, as in google-research/scenic, commit
4a38d475, ``projects/vivit/model_utils.py`` (``joint_accuracy``, ``joint_top_k``).

    B  videos    K  classes of all heads together    k  best actions
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.protocol import Protocol
from tubelet.types import HeadScores, Prediction, Segment

JOINT = " + "  # between the class names of an action


def head_sizes(protocol: Protocol) -> tuple[int, ...]:
    """Number of classes of each head."""
    return tuple(len(names) for names in protocol.labels.values())


def split_heads(scores: Float[Tensor, "*B K"], sizes: Sequence[int]) -> tuple[Float[Tensor, "*B _"], ...]:
    """The columns of each head.

    Raises:
        ValueError: the sizes do not add up to K.
    """
    if sum(sizes) != scores.shape[-1]:
        raise ValueError(f"heads of {' + '.join(map(str, sizes))} classes do not fit {scores.shape[-1]} scores")
    return scores.split(list(sizes), dim=-1)


def class_probs(logits: Float[Tensor, "*B K"], protocol: Protocol) -> Float[Tensor, "*B K"]:
    """Probabilities of the classes: a softmax over each head, or with ``multi_label`` a sigmoid of each class."""
    if protocol.multi_label:
        return logits.sigmoid()
    if len(protocol.labels) < 2:
        return logits.softmax(-1)
    return torch.cat([part.softmax(-1) for part in split_heads(logits, head_sizes(protocol))], -1)


def best_actions(
    probs: Float[Tensor, "B K"], sizes: Sequence[int], k: int | None = None
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k heads"]]:
    """The most probable actions of each video, best first: their probabilities and the class of each head.

    The product over all heads is never laid out in full: the k best pairs are made of the k best of each side.

    Args:
        probs: of all heads side by side, a distribution over each.
        sizes: number of classes of each head.
        k: how many, at most as many as there are; none: all.
    """
    num_videos = len(probs)
    scores = probs.new_ones(num_videos, 1)
    classes = torch.zeros(num_videos, 1, 0, dtype=torch.int64, device=probs.device)
    for part in split_heads(probs, sizes):
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


def action_name(names: Iterable[str]) -> str:
    """How an action is written, from the class name of each head: ``door + open``."""
    return JOINT.join(names)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The best labels of one video: classes of the only head, or actions and the classes of each head."""

    labels: tuple[str, ...]
    probs: tuple[float, ...]
    heads: dict[str, HeadScores]  # empty where there is one head


def rank(probs: Float[Tensor, " K"], protocol: Protocol, top_k: int | None = None) -> Ranking:
    """The ``top_k`` best of each head and, where there are several, of the actions; none: all."""
    parts = zip(protocol.labels.items(), split_heads(probs, head_sizes(protocol)), strict=True)
    heads = {head: _best(part, names, top_k) for (head, names), part in parts}
    if len(heads) == 1:
        (only,) = heads.values()
        return Ranking(labels=only.labels, probs=only.probs, heads={})
    scores, classes = best_actions(probs[None], head_sizes(protocol), top_k)
    all_names = tuple(protocol.labels.values())
    actions = (
        action_name(names[i] for names, i in zip(all_names, action, strict=True)) for action in classes[0].tolist()
    )
    return Ranking(labels=tuple(actions), probs=tuple(scores[0].tolist()), heads=heads)


def rankings(found: Prediction | Segment) -> dict[str, HeadScores]:
    """The scores to show, by what they are of: "prediction" where there is one head, else "action" and each head."""
    first = HeadScores(labels=found.labels, probs=found.probs)
    return {"action": first, **found.heads} if found.heads else {"prediction": first}


def _best(probs: Tensor, names: tuple[str, ...], top_k: int | None) -> HeadScores:
    order = torch.argsort(probs, descending=True, stable=True)[:top_k]
    return HeadScores(labels=tuple(names[i] for i in order.tolist()), probs=tuple(probs[order].tolist()))
