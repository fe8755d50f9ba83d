"""What a model answered about one video beside what is true: how wrong it is, and how sure.

B  videos    K  classes of all heads together
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.tasks.actions import action_name, by_head

TINY = torch.finfo(torch.float32).tiny  # a probability that underflowed to 0 still has a logarithm


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """One video whose label is known."""

    label: str  # the true class; of several heads the action, of several labels all of them
    predicted: str
    loss: float  # negative log-likelihood of what is true, in nats
    margin: float  # between the two best answers, of the head where it is smallest; 0 is undecided

    @property
    def is_wrong(self) -> bool:
        return self.label != self.predicted


def judge_classes(
    labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"], names: Sequence[Sequence[str]]
) -> list[Judgment | None]:
    """Judgments where each head has one class; None where a video lacks the label of a head."""
    parts = [part.double() for part in by_head(probs, [len(of_head) for of_head in names])]
    best = [part.topk(2, dim=-1) for part in parts]
    margins = torch.stack([values[:, 0] - values[:, 1] for values, _ in best]).amin(0).tolist()
    answers = torch.stack([indices[:, 0] for _, indices in best], dim=1).tolist()
    found: list[Judgment | None] = []
    for row, (label, answer) in enumerate(zip(labels, answers, strict=True)):
        if min(label) < 0:
            found.append(None)
            continue
        true = torch.stack([part[row, c] for part, c in zip(parts, label, strict=True)])
        texts = [action_name(of[c] for of, c in zip(names, chosen, strict=True)) for chosen in (label, answer)]
        loss = float(-true.clamp(min=TINY).log().sum())
        found.append(Judgment(label=texts[0], predicted=texts[1], loss=loss, margin=margins[row]))
    return found


def judge_labels(
    labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"], names: Sequence[str]
) -> list[Judgment | None]:
    """Judgments where a video may have several classes: those above one half are the answer."""
    found: list[Judgment | None] = []
    for label, row in zip(labels, probs.double(), strict=True):
        has = torch.zeros_like(row, dtype=torch.bool)
        has[list(label)] = True
        texts = [", ".join(names[c] for c in chosen) or "no label" for chosen in (sorted(label), _above_half(row))]
        loss = float(-torch.where(has, row, 1 - row).clamp(min=TINY).log().mean())
        margin = float((2 * row - 1).abs().amin())
        found.append(Judgment(label=texts[0], predicted=texts[1], loss=loss, margin=margin))
    return found


def _above_half(row: Float[Tensor, " K"]) -> list[int]:
    chosen: list[int] = (row > 0.5).nonzero()[:, 0].tolist()
    return chosen
