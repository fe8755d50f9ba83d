"""What the tasks share that answer with classes: probabilities, rankings, and the columns of ``scores.csv``.

B  videos    K  classes of all heads together
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.tasks.actions import by_head
from tubelet.tasks.agreement import Agreement, first_label_refusal
from tubelet.tasks.judgment import TINY, Judgment, judge_classes
from tubelet.tasks.temperature import class_temperature
from tubelet.tasks.video_task import Ranking, VideoTask
from tubelet.types import HeadScores, Prediction, Segment

# validation.csv of every task with classes has these columns, so that runs can be read side by side.
HEADER = ("loss", "top1", "top5", "mean_class", "auroc", "calibration_error", "mean_average_precision")


@dataclass(frozen=True, kw_only=True)
class Classification(VideoTask):
    """A task whose answer is one or several of the classes."""

    per_class: ClassVar[str] = "Accuracy"  # what metrics.json says of each class
    per_class_note: ClassVar[str] = (
        "Share of the videos of each class that were classified right, the number of these videos, and Wilson's "
        "interval of 95 %, where the videos are held out and no groups of them are known."
    )
    per_class_is_share: ClassVar[bool] = True
    header: ClassVar[tuple[str, ...]] = HEADER
    is_calibrated: ClassVar[bool] = True

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Number of classes of each head."""
        return tuple(len(names) for names in self.labels.values())

    def logits_of(self, probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """Logits whose ``probs`` these are."""
        return probs.clamp(min=TINY).log()

    def tempered(self, logits: Float[Tensor, "*B K"], temperatures: Sequence[float]) -> Float[Tensor, "*B K"]:
        """Logits divided by the temperature of their head; as they are where there is none."""
        if all(t == 1 for t in temperatures):
            return logits
        scale = [t for t, size in zip(temperatures, self.head_sizes, strict=True) for _ in range(size)]
        return logits / logits.new_tensor(scale)

    def temperatures(self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N *targets"]) -> tuple[float, ...]:
        """Of each head, the temperature that fits held-out videos best, from their uncalibrated probabilities."""
        by_column = targets.reshape(len(targets), -1).unbind(dim=1)
        logits = by_head(self.logits_of(probs.double()), self.head_sizes)
        return tuple(class_temperature(part, labels) for part, labels in zip(logits, by_column, strict=True))

    def rank(self, probs: Float[Tensor, " K"], top_k: int | None = None) -> Ranking:
        """The best labels of a video.

        Args:
            top_k: how many, of each head and of the actions. None means all.
        """
        ((_, names),) = self.labels.items()
        best = best_classes(probs, names, top_k)
        return Ranking(labels=best.labels, probs=best.probs, heads={})

    def agreement(self, probs: Float[Tensor, "N K"], others: Float[Tensor, "N K"]) -> Agreement:
        """How ``others``, probabilities by another computation of the model, answer beside ``probs``.

        A task refuses first labels that differ too often. Where few videos were asked, none may differ clearly.
        """
        equal, margin = 0, 0.0
        for own, other in zip(probs, others, strict=True):
            ranked, label = self.rank(own), self.rank(other, 1).labels[0]
            equal += label == ranked.labels[0]
            of_label = dict(zip(ranked.labels, ranked.probs, strict=True))[label]
            margin = max(margin, ranked.probs[0] - of_label)
        total = len(probs)
        refusal = first_label_refusal(equal, total, margin)
        return Agreement(num_videos=total, num_equal=equal, largest_margin=margin, refusal=refusal)

    @property
    def class_columns(self) -> list[str]:
        """How ``scores.csv`` calls the columns of the probabilities."""
        return [name for names in self.labels.values() for name in names]

    def judge(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[Judgment | None]:
        """The answers about videos beside what is true; None where that is not known."""
        return judge_classes(labels, probs, tuple(self.labels.values()))


def best_classes(probs: Float[Tensor, " K"], names: Sequence[str], top_k: int | None) -> HeadScores:
    """The most probable classes, best first; of equals the first by index."""
    order = torch.argsort(probs, descending=True, stable=True)[:top_k]
    return HeadScores(labels=tuple(names[i] for i in order.tolist()), probs=tuple(probs[order].tolist()))


def rankings(found: Prediction | Segment) -> dict[str, HeadScores]:
    """The scores to show, by what they are of: "prediction" where there is one head, else "action" and each head."""
    first = HeadScores(labels=found.labels, probs=found.probs)
    return {"action": first, **found.heads} if found.heads else {"prediction": first}
