"""How good a classifier with several heads is at actions: one class of each head, all of them right at once.

The scores are the products of the heads' probabilities (``tubelet.tasks.heads``); top-1 counts the videos whose
best action is the true one, which is every head being right, top-k those whose true action is among the k best.
Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model_utils.py``.

    N  videos    K  classes of all heads together
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from tubelet.errors import DataError
from tubelet.tasks.heads import action_name, best_actions
from tubelet.tasks.metrics import CALIBRATION_BINS, Metrics, OneAnswer

Action = tuple[int, ...]  # class of each head


@dataclass(frozen=True, kw_only=True)
class ActionMetrics(OneAnswer):
    """What ``metrics.json`` says about the actions, and about each head. Accuracies are shares in [0, 1]."""

    num_videos: int  # with a label of every head; the metrics of a head count all videos that have one of it
    top1: float
    top5: float  # the true action is among the ``top5_k`` best
    top5_k: int  # 5, or the number of actions when there are fewer
    mean_class: float  # mean of the accuracies of the actions that occur
    auroc: None = None  # not computed: almost every action has too few videos
    calibration_error: float  # expected calibration error of the best action, 15 bins
    loss: float  # mean over the heads of their mean negative log-likelihoods in nats, as in training
    majority_baseline: float  # accuracy of always answering majority_label
    majority_label: str
    majority_source: Literal["train", "evaluated"]  # where the most frequent action was counted
    heads: dict[str, Metrics]

    @property
    def figures(self) -> dict[str, float | None]:
        """The headline numbers by the name they are shown under."""
        heads = {f"{head} top-1": metrics.top1 for head, metrics in self.heads.items()}
        return {"action top-1": self.top1, f"action top-{self.top5_k}": self.top5, **heads}

    @property
    def headline(self) -> str:
        heads = ", ".join(f"{head} {metrics.top1:.1%}" for head, metrics in self.heads.items())
        return f"action top-1 {self.top1:.1%}, top-{self.top5_k} {self.top5:.1%}; top-1 of {heads}"


def compute_action_metrics(
    probs: Float[Tensor, "N K"],
    labels: Int[Tensor, "N heads"],
    class_names: Sequence[Sequence[str]],
    heads: dict[str, Metrics],
    k: int = 5,
    train_actions: Sequence[Action] | None = None,
) -> ActionMetrics:
    """The metrics of the actions.

    Args:
        probs: of all heads side by side, a distribution over each.
        labels: true class of each head; -1 where it is not known.
        class_names: of each head.
        heads: the metrics of each head.
        k: the k of top-k, clamped to the number of actions.
        train_actions: of the training videos. The majority baseline answers their most frequent one, as a model
            could; without them it answers that of ``labels``.

    Raises:
        DataError: no video has a label of every head.
    """
    known = (labels >= 0).all(dim=1)
    if not known.any():
        raise DataError(f"no video has a label of every head ({', '.join(heads)}): there are no actions to count")
    probs, labels = probs.detach().double().cpu()[known], labels.cpu()[known]
    scores, best = best_actions(probs, [len(names) for names in class_names], k)
    right = (best == labels[:, None]).all(dim=2)  # N k
    true = [tuple(row) for row in labels.tolist()]
    counted = true if train_actions is None else [action for action in train_actions if min(action) >= 0]
    majority = Counter(counted or true).most_common(1)[0][0]
    confidence = scores[:, 0].clamp(max=1 - 2**-24)  # 1 would fall outside the last bin
    return ActionMetrics(
        num_videos=len(true),
        top1=float(right[:, 0].double().mean()),
        top5=float(right.any(dim=1).double().mean()),
        top5_k=best.shape[1],
        mean_class=_mean_class(right[:, 0], true),
        calibration_error=float(binary_calibration_error(confidence, right[:, 0].long(), n_bins=CALIBRATION_BINS)),
        loss=sum(metrics.loss for metrics in heads.values()) / len(heads),
        majority_baseline=true.count(majority) / len(true),
        majority_label=action_name(names[i] for names, i in zip(class_names, majority, strict=True)),
        majority_source="train" if counted and train_actions is not None else "evaluated",
        heads=dict(heads),
    )


def _mean_class(right: Bool[Tensor, " N"], true: Sequence[Action]) -> float:
    counts, hits = Counter(true), Counter(action for action, hit in zip(true, right.tolist(), strict=True) if hit)
    shares = torch.tensor([hits[action] / count for action, count in counts.items()], dtype=torch.float64)
    return float(shares.mean())
