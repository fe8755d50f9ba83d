"""How well a model tells unknown videos from known ones, by the score that its checkpoint rejects with.

The area under the ROC curve (AUROC) is the chance that a known video scores above an unknown one. Black, color bars and
noise are unknown to every model.

    N  known videos    n  unknown clips    K  classes of all heads together
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import DataError
from tubelet.evaluation.evaluate import Evaluation
from tubelet.evaluation.unknown_clips import unknown_clips
from tubelet.inference.rejection import familiarity
from tubelet.inference.view_averaging import predict_views
from tubelet.protocol import Protocol, RejectionScore
from tubelet.types import Precision

NUM_UNKNOWN = 8  # clips of each kind
AT_ONCE = 4  # that go through the model together

UnknownLogits = Mapping[str, Float[Tensor, "n K"]]  # of clips that show none of the classes, by kind


def score_unknown(
    model: nn.Module, protocol: Protocol, device: torch.device, precision: Precision = "fp32"
) -> UnknownLogits:
    """What a model says of black, color bars and noise."""
    score = partial(predict_views, model, protocol=protocol, device=device, precision=precision)
    return {
        kind: torch.cat([score(some).logits for some in clips.split(AT_ONCE)])
        for kind, clips in unknown_clips(protocol, NUM_UNKNOWN).items()
    }


def with_rejection(evaluation: Evaluation, protocol: Protocol, unknown: UnknownLogits) -> Evaluation:
    """The evaluation of a checkpoint that can reject, with what rejection makes of its videos and of unknown clips."""
    rejection = evaluation.calibration.rejection
    if rejection is None:
        return evaluation
    of_known = familiarity(evaluation.scores.logits, rejection.score, protocol)
    kept = of_known >= rejection.threshold
    areas = rejection_areas(evaluation, rejection.score, protocol, unknown)
    figures = {
        "score": rejection.score,
        "threshold": rejection.threshold,
        "num_rejected": int((~kept).sum()),
        "kept": _of_kept(evaluation, kept),
        "auroc": areas,
        "unknown_rejected": {
            kind: float((familiarity(logits, rejection.score, protocol) < rejection.threshold).double().mean())
            for kind, logits in unknown.items()
        },
    }
    return dataclasses.replace(evaluation, rejection=figures)


def _of_kept(evaluation: Evaluation, kept: Tensor) -> dict[str, float | None]:
    """The decisive metric of the videos that are not rejected; None where nothing is left to measure."""
    task = evaluation.task
    try:
        found: Any = task.measure(evaluation.scores.probs[kept], evaluation.labels[kept])
    except DataError:
        return {task.best: None}
    return {task.best: found[task.best]}


def rejection_areas(
    known: Evaluation, score: RejectionScore, protocol: Protocol, unknown: UnknownLogits
) -> dict[str, float]:
    """AUROC of known videos against each kind of unknown clips."""
    of_known = familiarity(known.scores.logits, score, protocol)
    return {kind: area(of_known, familiarity(logits, score, protocol)) for kind, logits in unknown.items()}


def area(known: Float[Tensor, " N"], unknown: Float[Tensor, " n"]) -> float:
    """Chance that a known video scores above an unknown one, ties counting one half."""
    values, _ = unknown.sort()
    below = torch.searchsorted(values, known) + torch.searchsorted(values, known, right=True)
    return float(below.double().mean()) / 2 / len(values)
