"""A label for every time step of a film: several behaviors at once, or one of them or background.

The targets of a window are one number per step (``tubelet.tasks.per_frame.targets``).

    B  windows   T  steps of a window   N  steps of all films   K  classes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.layouts.bouts.bout import BACKGROUND
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError
from tubelet.tasks.metric import Column, Metric, Place, Shown, Values, everywhere
from tubelet.tasks.per_frame.loss import StepLoss
from tubelet.tasks.per_frame.measure import bout_key, measure
from tubelet.tasks.per_frame.rules import BoutRule
from tubelet.tasks.per_frame.scores import IOUS, FilmScores, SplitScores
from tubelet.tasks.per_frame.targets import UNLABELED, seen_classes
from tubelet.tasks.task import LOSS, Task
from tubelet.types import ClassWeights

RIGHT = Column(key="right_steps", title="Right steps", unit="%")  # all classes of a step
SHARE = (0.0, 1.0)


def _of(key: str) -> Any:
    """A figure that ``measure`` has computed."""
    return lambda values: values[key]


def _films(values: Values) -> str:
    return f"{values['num_videos']:,} films, {values['num_steps']:,} steps"


def _interval(key: str) -> Any:
    def text(values: Values) -> str:
        found = values.get("intervals", {}).get(key)
        return f"95 % over films {found[0]:.3f} to {found[1]:.3f}" if found else ""

    return text


def _has_observers(values: Values) -> bool:
    return bool(values.get("observers"))


_ONCE: tuple[Place, ...] = ("summary", "report", "card")

# All of metrics.json, in its order; ``measure`` computes the values under these keys.
METRICS = (
    Metric(key="labels", compute=_of("labels"), is_required=True),
    Metric(key="num_videos", compute=_of("num_videos"), is_required=True),
    Metric(key="num_steps", compute=_of("num_steps")),
    Metric(
        key="frame_mean_average_precision",
        title="frame mAP",
        unit="%",
        bounds=SHARE,
        compute=_of("frame_mean_average_precision"),
        note=_films,
        meaning=_interval("frame_mean_average_precision"),
        is_required=True,
        shows=everywhere(study=Shown(order=1)),
    ),
    *(
        Metric(
            key=bout_key(iou),
            title=f"bout F1@{iou:g}",
            unit="%",
            bounds=SHARE,
            compute=_of(bout_key(iou)),
            meaning=_interval(bout_key(iou)),
            undefined="no bouts",
            is_required=True,
        )
        for iou in reversed(IOUS)
    ),
    Metric(
        key="macro_f1",
        title="frame F1",
        unit="%",
        bounds=SHARE,
        compute=_of("macro_f1"),
        meaning=_interval("macro_f1"),
        undefined="no labeled step",
        is_required=True,
    ),
    Metric(
        key="boundary_error_seconds",
        title="boundary error (s)",
        is_lower_better=True,
        compute=_of("boundary_error_seconds"),
        meaning=_interval("boundary_error_seconds"),
        undefined="no matched bout",
        is_required=True,
    ),
    Metric(
        key="boundary_error_steps",
        title="boundary error (steps)",
        is_lower_better=True,
        compute=_of("boundary_error_steps"),
        undefined="no matched bout",
        shows={"summary": Shown(), "report": Shown(), "card": Shown()},
    ),
    Metric(
        key="boundary_error_frames",
        title="boundary error (frames)",
        is_lower_better=True,
        compute=_of("boundary_error_frames"),
        undefined="no matched bout",
        shows={"summary": Shown(), "report": Shown(), "card": Shown()},
    ),
    Metric(key="kappa", title="Cohen's kappa", compute=_of("kappa"), meaning=_interval("kappa"), undefined="no label"),
    Metric(
        key="observer_kappa",
        title="Cohen's kappa of observers",
        compute=lambda values: values["observers"].get("kappa"),
        meaning=lambda values: "of further observers with the one whose labels count, on films that several labeled",
        shows={place: Shown(when=_has_observers) for place in _ONCE},
    ),
    Metric(
        key="observer_f1",
        title="frame F1 of observers",
        unit="%",
        compute=lambda values: values["observers"].get("macro_f1"),
        shows={place: Shown(when=_has_observers) for place in _ONCE},
    ),
    Metric(
        key="loss",
        title="loss",
        unit="nats",
        is_lower_better=True,
        compute=_of("loss"),
        is_required=True,
        shows={"validation": Shown(), "console": Shown(), "curve": Shown(title="Loss", order=-1), "report": Shown()},
    ),
    Metric(
        key="prevalence_baseline",
        title="prevalence baseline",
        unit="%",
        compute=_of("prevalence_baseline"),
        meaning=lambda values: "frame mAP of scores that say nothing",
        shows={
            "report": Shown(title="Prevalence baseline"),
            "card": Shown(title="frame mAP of scores that say nothing"),
        },
    ),
    *(
        Metric(key=key, compute=_of(key))
        for key in (
            *(
                "per_class",
                "class_counts",
                "frame_f1",
                "bout_f1",
                "bouts",
                "step_seconds",
                "shift_change",
                "rules",
                "observers",
            ),
            "intervals",
        )
    ),
)


@dataclass(frozen=True, kw_only=True)
class PerFrame(Task):
    """A label for every step; ``labels`` has one head with the classes in logit order."""

    one: bool  # behaviors exclude each other, and the first class is background
    step_counts: tuple[int, ...] = ()  # labeled training steps of each class, for class weights
    num_labeled: int = 0  # labeled training steps

    steps: ClassVar[tuple[Column, ...]] = (LOSS, RIGHT)
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    best: ClassVar[str] = "frame_mean_average_precision"
    baseline: ClassVar[str] = "prevalence_baseline"
    warning: ClassVar[str] = "frame mAP is not above the {baseline} of no knowledge."
    command: ClassVar[str] = "tubelet moments FILM --model {checkpoint}"
    per_class: ClassVar[str] = "Average precision"
    per_class_note: ClassVar[str] = (
        "Area under the precision-recall curve of the steps of each behavior, and the number of its labeled bouts."
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        (names,) = self.labels.values()
        return names

    @property
    def default_rules(self) -> tuple[BoutRule, ...]:
        """Rules of every class before any is chosen."""
        return (BoutRule(),) * len(self.names)

    def targets(self, labels: Sequence[tuple[int, ...]]) -> Int[Tensor, "B T"]:
        """The targets of windows; steps behind the end of a shorter one, and windows not read, are unlabeled."""
        length = max(map(len, labels), default=0)
        return torch.tensor([[*row, *([UNLABELED] * (length - len(row)))] for row in labels], dtype=torch.int64)

    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """A softmax where behaviors exclude each other, else a sigmoid of each."""
        return logits.softmax(-1) if self.one else logits.sigmoid()

    def objective(
        self, train: Manifest, label_smoothing: float = 0.0, class_weights: ClassWeights = "none"
    ) -> StepLoss:
        """Mean over labeled steps. Balanced weights make every class, or both sides of each, count the same."""
        weights = None
        if class_weights == "balanced":
            counts = torch.tensor(self.step_counts, dtype=torch.float32).clamp(min=1)
            if self.one:
                weights = self.num_labeled / (len(counts) * counts)
            else:
                weights = (self.num_labeled - counts).clamp(min=1) / counts
        return StepLoss(one=self.one, label_smoothing=label_smoothing, class_weights=weights)

    def measure(
        self, probs: Float[Tensor, "N K"], targets: Int[Tensor, " N"], train: Manifest | None = None
    ) -> dict[str, object]:
        """The figures of one film whose steps last a second each; ``measure_films`` knows films and clocks."""
        edges, codes = np.arange(len(probs) + 1, dtype=float), targets.numpy()
        seen = seen_classes(codes, len(self.names), one=self.one)
        changes = [np.flatnonzero(np.diff(np.r_[False, seen[:, k], False])) for k in range(len(self.names))]
        truth = {
            name: [(float(a), float(b)) for a, b in found.reshape(-1, 2)]
            for name, found in zip(self.names, changes, strict=True)
        }
        film = FilmScores(name="", probs=probs.double().numpy(), codes=codes, edges=edges, truth=truth)
        return self.measure_films([film])

    def measure_films(
        self, films: Sequence[FilmScores], rules: tuple[BoutRule, ...] = (), *, with_intervals: bool = False
    ) -> dict[str, Any]:
        """The figures of films.

        Args:
            rules: by which bouts are found. Empty means the default.
            with_intervals: resample films, which takes seconds.

        Raises:
            DataError: there is no labeled step.
        """
        scores = self.scores(films, rules)
        if not sum(map(len, scores.seen)):
            raise DataError(f"metrics need labeled steps: got {len(films)} films without any")
        values = measure(scores, with_intervals=with_intervals)
        return {metric.key: metric.compute(values) for metric in self.metrics}

    def scores(self, films: Sequence[FilmScores], rules: tuple[BoutRule, ...] = ()) -> SplitScores:
        """The films of a split, as they are judged."""
        return SplitScores(films=tuple(films), names=self.names, rules=rules or self.default_rules, one=self.one)

    @classmethod
    def baseline_text(cls, values: Values) -> str:
        """What scores reach that say nothing."""
        return f"scores that say nothing give {values['prevalence_baseline']:.1%}"


def class_names_of(behaviors: Sequence[str], *, one: bool) -> tuple[str, ...]:
    """The classes for these behaviors, in logit order."""
    named = tuple(name for name in behaviors if name != BACKGROUND)
    return (BACKGROUND, *named) if one else named
