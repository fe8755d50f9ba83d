"""Several heads in one row of logits: the classes of all heads lie side by side, and a video has one of each head.

EPIC-KITCHENS with its nouns and verbs is the example: one linear layer gives 300 noun logits and then 97 verb logits.
An *action* is one class of each head (``tubelet.tasks.actions``). The loss is the plain mean over the heads, each
smoothed with its own number of classes. A video without a label of a head takes no part in the loss and the metrics of
that head, nor in those of the actions. Source: google-research/scenic, commit 4a38d475,
``projects/vivit/model_utils.py`` and ``vivit.py``, ``loss_function``.

    N  videos of a split    B  videos of a part of a batch    K  classes of all heads together
    means  one per head, and one for the actions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.loading.loader import class_indices
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.actions import (
    ActionScores,
    action_name,
    action_scores,
    best_actions,
    by_head,
    calibration_error,
    mean_class,
)
from tubelet.tasks.classification import Classification, best_classes
from tubelet.tasks.metric import Cell, Column, Metric, Place, Shown, Values, cell_of, everywhere
from tubelet.tasks.single_label import (
    RIGHT,
    SHARE,
    SingleLabel,
    balanced_weights,
    calibration_metric,
    class_loss,
    compute_metrics,
    loss_metric,
    majority_metric,
)
from tubelet.tasks.task import LOSS
from tubelet.tasks.video_task import Ranking
from tubelet.types import ClassWeights

# What training minimizes


@dataclass(frozen=True, kw_only=True)
class MeanCrossEntropy:
    """Plain mean over the heads of their cross entropies."""

    head_sizes: tuple[int, ...]  # number of classes of each head
    label_smoothing: float = 0.0  # share of the target that is spread evenly over the classes of a head
    class_weights: tuple[Tensor, ...] = ()  # of each head, a weight per class; empty means that all weigh 1

    def shares(self, targets: Int[Tensor, "B heads"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B means"]:
        """How much each video of a whole batch counts in the mean of each head, and last, in the mean over the videos
        that have a label of all of them."""
        known = (targets >= 0).float()
        known = torch.cat([known, known.prod(dim=1, keepdim=True)], dim=1)
        return weight[:, None] / (weight[:, None] * known).sum(dim=0).clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B K"], targets: Int[Tensor, "B heads"], shares: Float[Tensor, "B means"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the share of the videos of which every head is right."""
        parts = by_head(logits, self.head_sizes)
        loss = torch.zeros((), device=logits.device)
        all_right = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for i, part in enumerate(parts):
            weights = self.class_weights[i] if self.class_weights else None
            of_head, right = class_loss(part, targets[:, i], shares[:, i], self.label_smoothing, weights)
            loss = loss + of_head / len(parts)
            all_right &= right
        return loss, (all_right * shares[:, -1]).sum()


# Its metrics


# All of metrics.json about the actions, in its order; ``heads`` holds what SingleLabel says of each head. To add a
# metric, add it here: it shows in every place that ``shows`` lists, by default in all.
METRICS = (
    # With a label of every head; the metrics of a head count all videos that have one of it.
    Metric(key="num_videos", compute=lambda s: len(s.true), is_required=True),
    Metric(
        key="top1",
        title="action top-1",
        unit="%",
        bounds=SHARE,
        compute=lambda s: float(s.right[:, 0].double().mean()),
        meaning=lambda values: "of actions: every head is right",
        is_right_answers=True,
        hub_type="accuracy",
        is_required=True,
        shows=everywhere(report=Shown(title="Top-1"), curve=Shown(title="Top-1 accuracy")),
    ),
    Metric(
        key="top5",  # the true action is among the top5_k best
        title="action top-{top5_k}",
        unit="%",
        bounds=SHARE,
        compute=lambda s: float(s.right.any(dim=1).double().mean()),
        is_required=True,
        shows={"validation": Shown(), "seeds": Shown(), "report": Shown(title="Top-{top5_k}"), "card": Shown()},
    ),
    # 5, or the number of actions when there are fewer.
    Metric(key="top5_k", compute=lambda s: s.best[1].shape[1], is_required=True),
    Metric(
        key="mean_class",  # mean of the accuracies of the actions that occur
        title="action mean class",
        unit="%",
        bounds=SHARE,
        compute=mean_class,
        meaning=lambda values: "mean of the per-class accuracies",
        is_required=True,
        shows={
            "validation": Shown(),
            "report": Shown(title="Mean class"),
            "card": Shown(title="action mean class accuracy"),
            "study": Shown(),
        },
    ),
    # Not computed: almost every action has too few videos.
    Metric(key="auroc", title="AUROC", compute=lambda s: None, is_required=True, shows={"study": Shown()}),
    calibration_metric("action calibration error", calibration_error),  # of the best action
    # Mean over the heads of their mean negative log-likelihoods, as in training.
    loss_metric(lambda s: sum(of_head[LOSS.key] for of_head in s.heads.values()) / len(s.heads)),
    majority_metric(lambda s: s.true.count(s.majority) / len(s.true)),
    Metric(key="majority_label", compute=lambda s: s.majority_label, is_required=True),
    # Where the most frequent action was counted.
    Metric(key="majority_source", compute=lambda s: "train" if s.trained else "evaluated"),
    Metric(key="heads", compute=lambda s: dict(s.heads), is_required=True),
)
# What shows of each head, behind the action's accuracies, by the keys of SingleLabel; and how it is called.
HEAD_METRICS: dict[Place, dict[str, str]] = {
    "console": {"top1": "{head}"},
    "seeds": {"top1": "{head} top-1"},
    "report": {"top1": "Top-1 of {head}", "top5": "Top-{top5_k} of {head}"},
    "card": {"top1": "{head} top-1"},
}
ACCURACIES = ("top1", "top5")


@dataclass(frozen=True, kw_only=True)
class MultiHead(Classification):
    """One class of each head per video."""

    steps: ClassVar[tuple[Column, ...]] = (LOSS, RIGHT)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "top1"
    baseline: ClassVar[str] = "majority_baseline"
    warning: ClassVar[str] = SingleLabel.warning
    has_baseline_curve: ClassVar[bool] = True

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B heads"]:
        """The class of each head; -1 where it is not known."""
        return class_indices(labels)

    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """A softmax over the classes of each head."""
        return torch.cat([part.softmax(-1) for part in by_head(logits, self.head_sizes)], -1)

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> MeanCrossEntropy:
        """Mean of the heads' cross entropies."""
        weights = tuple(balanced_weights(train, head) for head in self.labels) if class_weights == "balanced" else ()
        return MeanCrossEntropy(head_sizes=self.head_sizes, label_smoothing=label_smoothing, class_weights=weights)

    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N heads"], train: Manifest | None = None
    ) -> dict[str, Any]:
        """The metrics of the actions, and those of each head."""
        heads = {}
        for i, ((head, names), part) in enumerate(
            zip(self.labels.items(), by_head(probs, self.head_sizes), strict=True)
        ):
            known = targets[:, i] >= 0
            if not known.any():
                raise DataError(f"no video has a label of '{head}': give data with labels of every head of the model")
            counts = None if train is None else list(train.class_counts(list(train.class_names)[i]).values())
            heads[head] = compute_metrics(part[known], targets[known, i], names, train_class_counts=counts)
        trained = None if train is None else [sample.labels for sample in train.samples]
        names_of_heads = list(self.labels.values())
        return action_metrics(action_scores(probs, targets, names_of_heads, heads, train_actions=trained))

    def rank(self, probs: Float[Tensor, " K"], top_k: int | None = None) -> Ranking:
        """The best actions of a video, and the best classes of each head."""
        parts = zip(self.labels.items(), by_head(probs, self.head_sizes), strict=True)
        heads = {head: best_classes(part, names, top_k) for (head, names), part in parts}
        scores, classes = best_actions(probs[None], self.head_sizes, top_k)
        names = tuple(self.labels.values())
        actions = (action_name(of[i] for of, i in zip(names, action, strict=True)) for action in classes[0].tolist())
        return Ranking(labels=tuple(actions), probs=tuple(scores[0].tolist()), heads=heads)

    @property
    def class_columns(self) -> list[str]:
        """HEAD:CLASS of each head."""
        return [f"{head}:{name}" for head, names in self.labels.items() for name in names]

    @property
    def label_columns(self) -> list[str]:
        """The true class and the best one of each head."""
        return [column for head in self.labels for column in (head, f"{head}_predicted")]

    def label_cells(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[list[str]]:
        """Their names; empty where a video has no label of a head."""
        names = list(self.labels.values())
        best = torch.stack([part.argmax(-1) for part in by_head(probs, self.head_sizes)], dim=1).tolist()
        return [
            [cell for of, c, i in zip(names, video, answer, strict=True) for cell in (of[c] if c >= 0 else "", of[i])]
            for video, answer in zip(labels, best, strict=True)
        ]

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a metrics.json is of several heads."""
        return "heads" in values

    @classmethod
    def missing_keys(cls, values: Values) -> list[str]:
        """What a metrics.json lacks of the actions or of a head."""
        heads = values.get("heads", {}).values()
        return [*super().missing_keys(values), *(key for part in heads for key in SingleLabel.missing_keys(part))]

    @classmethod
    def parts(cls, values: Values) -> dict[str, Values]:
        """The metrics of each head by its name."""
        heads: dict[str, Values] = values["heads"]
        return heads

    @classmethod
    def cells(cls, place: Place, values: Values) -> list[Cell]:
        """Accuracies of the actions, then those of each head, then the rest."""
        own, single = super().cells(place, values), {metric.key: metric for metric in SingleLabel.metrics}
        shown = HEAD_METRICS.get(place, {})
        of_heads = [
            cell_of(single[key], place, part, head=head, title=title)
            for head, part in values["heads"].items()
            for key, title in shown.items()
            if single[key].shows[place].when(part)
        ]
        leading = [cell for cell in own if cell.metric.key in ACCURACIES]
        return [*leading, *of_heads, *(cell for cell in own if cell.metric.key not in ACCURACIES)]

    @classmethod
    def headline(cls, values: Values) -> str:
        """The accuracies of actions and heads in one line."""
        heads = ", ".join(f"{head} {part['top1']:.1%}" for head, part in values["heads"].items())
        own = f"action top-1 {values['top1']:.1%}, top-{values['top5_k']} {values['top5']:.1%}"
        rest = "".join(
            f", {cell.title} {cell.text}"
            for cell in cls.cells("summary", values)
            if cell.metric.key not in ACCURACIES and cell.text
        )
        return f"{own}{rest}; top-1 of {heads}"

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What a classifier reaches that always gives the same answer."""
        return SingleLabel.baseline_text(values)


def action_metrics(scores: ActionScores) -> dict[str, Any]:
    """The metrics of the actions, as ``metrics.json`` has them."""
    return {metric.key: metric.compute(scores) for metric in MultiHead.metrics}
