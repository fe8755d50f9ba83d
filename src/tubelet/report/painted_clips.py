"""Clips of a masked pre-training in its report: each frame above its mask and above what was painted."""

from __future__ import annotations

from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.report.run_report import Example
from tubelet.runs.masked_pretraining.run import PaintedSplit

_ROWS = "From top to bottom: the clip, what the encoder saw of it (hidden parts gray), and what was painted"


def painted_examples(evaluation: MeasuredSplit) -> list[Example]:
    """The film strips; none for a split of another task."""
    if not isinstance(evaluation, PaintedSplit):
        return []
    return [
        Example(title=name, true_label=None, predictions=(), frames=frames, group=_ROWS)
        for name, frames in evaluation.pictures.items()
    ]
