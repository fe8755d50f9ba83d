"""What a validation split teaches about scores: temperatures, and which videos are unknown to the model.

A rejection score is chosen by its AUROC (``tubelet.evaluation.rejection``) against black, color bars and noise, and
against each class in turn: without its logit, its validation videos stand for those of a class that the model does not
have.

    N  validation videos    K  classes of all heads together
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from statistics import mean

import numpy as np

from tubelet.evaluation.evaluate import Evaluation
from tubelet.evaluation.rejection import UnknownLogits, area, rejection_areas
from tubelet.inference.rejection import MIN_VIDEOS, SCORES, familiarity
from tubelet.protocol import LEVELS, Calibration, Protocol, Rejection, RejectionScore

MAX_VIDEOS = 2000  # of the validation split, evenly spread over it


def learn_calibration(validation: Evaluation, protocol: Protocol, unknown: UnknownLogits) -> Calibration:
    """Temperatures and rejection from the uncalibrated scores of validation videos.

    Fewer than 20 videos teach nothing: the temperature stays 1, and there is no rejection.
    """
    number = len(validation.samples)
    if number < MIN_VIDEOS:
        return Calibration(num_videos=number)
    scores = validation.scores
    score = choose_score(validation, protocol, unknown)
    quantiles = np.quantile(
        familiarity(scores.logits, score, protocol).numpy(), np.linspace(0, 1, LEVELS + 1), method="lower"
    )
    return Calibration(
        temperatures=validation.task.temperatures(scores.uncalibrated, validation.labels),
        rejection=Rejection(score=score, quantiles=tuple(quantiles.tolist())),
        num_videos=number,
    )


def choose_score(validation: Evaluation, protocol: Protocol, unknown: UnknownLogits) -> RejectionScore:
    """The score with the best mean over the kinds of unknown clips, the left-out classes together being one."""

    def quality(score: RejectionScore) -> float:
        areas = rejection_areas(validation, score, protocol, unknown).values()
        left_out = list(_left_out_areas(validation, score, protocol))
        return mean([*areas, *([mean(left_out)] if left_out else [])])

    return max(SCORES, key=quality)


def _left_out_areas(validation: Evaluation, score: RejectionScore, protocol: Protocol) -> Iterator[float]:
    """AUROC of each class of a single head as if the model did not have it."""
    if len(protocol.labels) > 1 or protocol.multi_label:
        return
    ((head, names),) = protocol.labels.items()
    for left_out, name in enumerate(names):
        is_unknown = validation.labels == left_out
        if len(names) < 3 or not is_unknown.any() or is_unknown.all():
            continue
        others = [column for column in range(len(names)) if column != left_out]
        rest = dataclasses.replace(protocol, labels={head: tuple(n for n in names if n != name)})
        values = familiarity(validation.scores.logits[:, others], score, rest)
        yield area(values[~is_unknown], values[is_unknown])
