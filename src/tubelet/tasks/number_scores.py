"""What the numbers that a model gives for the videos of a split are worth, and all of ``metrics.json``.

R2 is the coefficient of determination, 1 - sum of squared errors over those of the mean of the split; the mean
predictor answers the mean over the training videos.

    N  videos of a split    K  numbers per video
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.tasks.metric import Metric, Shown, Values, everywhere, mean_of

Scales = tuple[tuple[float, float], ...]  # mean and standard deviation of each number over the training videos


@dataclass(frozen=True, kw_only=True)
class NumberScores:
    """What a model says of a split beside what is true."""

    names: Sequence[str]
    values: Float[Tensor, "N K"]
    truth: Float[Tensor, "N K"]  # NaN where it is not known
    scales: Scales

    def _means(self, of: Tensor) -> list[float | None]:
        """Mean of each column over the videos where it is known."""
        return [float(column[~column.isnan()].mean()) if (~column.isnan()).any() else None for column in of.T]

    @cached_property
    def errors(self) -> list[float | None]:
        """Mean absolute error of each number."""
        return self._means((self.values - self.truth).abs())

    @cached_property
    def mean_errors(self) -> list[float | None]:
        """That of the mean predictor."""
        means = torch.tensor([mean for mean, _ in self.scales], dtype=self.truth.dtype)
        return self._means((means - self.truth).abs())

    @cached_property
    def squared(self) -> list[float | None]:
        """Mean squared error of each number in standard deviations."""
        deviations = torch.tensor([deviation for _, deviation in self.scales], dtype=self.truth.dtype)
        return self._means(((self.values - self.truth) / deviations).square())

    def explained(self, values: Float[Tensor, "N K"]) -> list[float | None]:
        """R2 of each number; None where all videos have the same."""
        own = self._means((self.truth - self.truth.nanmean(dim=0)).square())
        errors = self._means((values - self.truth).square())
        alike = [column[~column.isnan()].unique().numel() < 2 for column in self.truth.T]  # the spread may be rounded
        return [
            None if same or not spread or error is None else 1 - error / spread
            for same, error, spread in zip(alike, errors, own, strict=True)
        ]

    @cached_property
    def of_means(self) -> list[float | None]:
        """R2 of the mean predictor: 0, or below where the split has another mean than the training videos."""
        means = torch.tensor([mean for mean, _ in self.scales], dtype=self.truth.dtype)
        return self.explained(means.expand_as(self.truth))

    @property
    def counts(self) -> list[int]:
        """Videos whose number is known."""
        return (~self.truth.isnan()).sum(dim=0).tolist()

    def table(self) -> dict[str, dict[str, float | int | None]]:
        """All figures of each number."""
        columns = zip(
            *(self.names, self.counts, self.errors, self.mean_errors, self.explained(self.values), self.scales),
            strict=True,
        )
        return {
            name: {
                "num_videos": count,
                "mae": error,
                "mean_predictor_mae": of_mean,
                "r2": r2,
                "train_mean": mean,
                "train_standard_deviation": deviation,
            }
            for name, count, error, of_mean, r2, (mean, deviation) in columns
        }


def relative_error(scores: NumberScores) -> float | None:
    """Error over that of the mean predictor, averaged over the numbers."""
    pairs = zip(scores.errors, scores.mean_errors, strict=True)
    return mean_of([None if not of_mean or error is None else error / of_mean for error, of_mean in pairs])


def _is_one(values: Values) -> bool:
    return len(values["labels"]) == 1


def _named(values: Values) -> str:
    return "" if _is_one(values) else f"mean over {', '.join(values['labels'])}"


# All of metrics.json, in its order. Errors in a unit are shown where there is one number; each has its own in
# ``numbers``.
METRICS = (
    Metric(key="labels", compute=lambda s: list(s.names), is_required=True),
    Metric(key="num_videos", compute=lambda s: len(s.values), is_required=True),
    Metric(
        key="r2",
        title="R²",
        bounds=(-math.inf, 1.0),
        compute=lambda s: mean_of(s.explained(s.values)),
        note=lambda values: f"{values['num_videos']:,} videos",
        meaning=_named,
        undefined="all videos have the same number",
        is_required=True,
        shows=everywhere(study=Shown(order=1)),
    ),
    Metric(
        key="mae",
        title="MAE",
        is_lower_better=True,
        compute=lambda s: mean_of(s.errors),
        meaning=lambda values: "mean absolute error, in the unit of the labels",
        is_required=True,
        shows={place: Shown(when=_is_one) for place in everywhere()},
    ),
    Metric(
        key="mean_predictor_mae",
        title="MAE of the mean",
        is_lower_better=True,
        compute=lambda s: mean_of(s.mean_errors),
        meaning=lambda values: "of an answer that is always the mean over the training videos",
        is_required=True,
        shows={"summary": Shown(when=_is_one), "report": Shown(when=_is_one), "card": Shown(when=_is_one)},
    ),
    Metric(
        key="relative_error",
        title="error over that of the mean",
        unit="%",
        is_lower_better=True,
        compute=relative_error,
        meaning=_named,
        undefined="all videos have the training mean",
        is_required=True,
    ),
    Metric(
        key="mean_predictor_r2",
        title="R² of the mean",
        compute=lambda s: mean_of(s.of_means),
        is_required=True,
        shows={"report": Shown(), "card": Shown()},
    ),
    Metric(
        key="loss",
        title="loss",
        is_lower_better=True,
        compute=lambda s: mean_of(s.squared),
        meaning=lambda values: "squared error in standard deviations of the training videos",
        is_required=True,
        shows={"validation": Shown(), "console": Shown(), "curve": Shown(title="Loss", order=-1), "report": Shown()},
    ),
    Metric(key="per_class", compute=lambda s: dict(zip(s.names, s.errors, strict=True))),
    Metric(key="class_counts", compute=lambda s: dict(zip(s.names, s.counts, strict=True))),
    Metric(key="numbers", compute=NumberScores.table, is_required=True),
)
