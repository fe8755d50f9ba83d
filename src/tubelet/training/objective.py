"""What training minimizes: the mean of the heads' cross entropies, or of the classes' where a video may have several.

Several heads: the plain mean over the heads, each smoothed with its own number of classes (google-research/scenic,
commit 4a38d475, ``projects/vivit/model_utils.py`` and ``vivit.py``, ``loss_function``). A video without a label of a
head takes no part in the mean over the videos of that head.

Several labels per video: binary cross entropy of each class, mean over the classes; smoothing draws both answers
towards one half.

    B  videos of a part of a batch    K  classes of all heads together    means  one per head, and one for the actions
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.tasks.heads import split_heads

ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Loss and accuracy of a part of a batch."""

    head_sizes: tuple[int, ...]  # number of classes of each head
    multi_label: bool = False  # one head, whose classes do not exclude each other
    label_smoothing: float = 0.0  # share of the target spread evenly over the classes of a head
    class_weights: tuple[Tensor, ...] = ()  # of each head, a weight per class; none: all weigh 1

    def shares(self, labels: Int[Tensor, "B *heads"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B means"]:
        """How much each video of a whole batch counts in the mean of each head, and last, where there are several
        heads, in the mean over the videos that have a label of all of them."""
        known = torch.ones(len(labels), 1) if self.multi_label else (_columns(labels) >= 0).float()
        if known.shape[1] > 1:
            known = torch.cat([known, known.prod(dim=1, keepdim=True)], dim=1)
        return weight[:, None] / (weight[:, None] * known).sum(dim=0).clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B K"], labels: Int[Tensor, "B *heads"], shares: Float[Tensor, "B means"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the share of the videos that are right: the most likely class of every head is the true one,
        or, with several labels, the most likely class is one of them."""
        if self.multi_label:
            return self._of_independent_classes(logits, labels, shares[:, 0])
        columns, parts = _columns(labels), split_heads(logits, self.head_sizes)
        loss = torch.zeros((), device=logits.device)
        right = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for i, part in enumerate(parts):
            label = columns[:, i]
            known = label.clamp(min=0)
            each = F.cross_entropy(part, known, reduction="none", label_smoothing=self.label_smoothing)
            weight = shares[:, i] * (label >= 0)
            if self.class_weights:
                weight = weight * self.class_weights[i].to(weight.device)[known]
            loss = loss + (each * weight).sum() / len(parts)
            right &= part.detach().argmax(-1) == label
        return loss, (right * shares[:, -1]).sum()

    def _of_independent_classes(self, logits: Tensor, has: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        target = has * (1 - self.label_smoothing) + self.label_smoothing / 2
        positive = self.class_weights[0].to(logits.device) if self.class_weights else None
        each = F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive, reduction="none").mean(-1)
        best = has.gather(1, logits.detach().argmax(-1, keepdim=True))[:, 0]
        return (each * share).sum(), (best * share).sum()


def make_objective(train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none") -> Objective:
    """The objective that fits the labels of the training rows."""
    return Objective(
        head_sizes=tuple(len(names) for names in train.class_names.values()),
        multi_label=train.multi_label,
        label_smoothing=label_smoothing,
        class_weights=balanced_weights(train) if class_weights == "balanced" else (),
    )


def balanced_weights(train: Manifest) -> tuple[Float[Tensor, " _"], ...]:
    """Weights of the classes of each head with which every class that occurs counts the same, and the mean over the
    training videos is 1: videos / (classes x videos of the class).

    With several labels per video: how much more a video with the class counts than one without it, so that both sides
    of each class count the same: videos without / videos with.
    """
    weights = []
    for i, head in enumerate(train.class_names):
        counts = torch.tensor(list(train.class_counts(head).values()), dtype=torch.float32)
        labeled = sum(bool(labels_of(s.labels, i, multi_label=train.multi_label)) for s in train.samples)
        if train.multi_label:
            weights.append(((len(train) - counts) / counts.clamp(min=1)).where(counts > 0, 1.0))
        else:
            weights.append((labeled / ((counts > 0).sum() * counts.clamp(min=1))).where(counts > 0, 1.0))
    return tuple(weights)


def _columns(labels: Tensor) -> Tensor:
    """A column per head."""
    return labels[:, None] if labels.ndim == 1 else labels
