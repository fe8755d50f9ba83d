"""What a plan tells of a run of the task ``per_frame``."""

from __future__ import annotations

from tubelet.runs.plan.parts import Plan
from tubelet.session.processes import is_launched


def look_at_per_frame(plan: Plan) -> None:
    """What is told of a run that learns from windows, whose number is not known before the films are opened."""
    if is_launched():
        plan.problems.append("per_frame trains in one process; start it without torchrun")
    if plan.recipe.per_frame is not None and plan.recipe.per_frame.train_backbone:
        plan.note(
            "per_frame: backbone and head learn from windows of frames; their number, and that of the steps, is known "
            "when the films are opened"
        )
        return
    plan.note(
        "per_frame: the films go through the model once, and a small head learns from windows of its features; their "
        "number, and so that of the steps, is known then"
    )
    if plan.recipe.init is None:
        plan.note("the model's weights are random, and so are the features; give trained ones (--init)")
