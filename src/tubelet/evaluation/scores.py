"""Writes ``scores.csv``: one row per video of a split, one column per class.

one head         path, start_seconds, end_seconds, label, predicted, then the classes
several heads    ..., HEAD and HEAD_predicted of each, then HEAD:CLASS; empty where a video has no label of a head
several labels   ..., label (joined by |), then the classes; nothing is "predicted", for that takes a threshold
numbers          ..., those of the data by their names, then NAME_predicted of each
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tubelet.data.manifest.manifest import Sample
from tubelet.data.manifest.segments import segment_cells
from tubelet.tasks.video_task import VideoTask


def scores_csv(samples: Sequence[Sample], probs: Float[Tensor, "N K"], task: VideoTask) -> str:
    """The text of the table.

    Args:
        samples: one for each row of ``probs``.
        probs: of the classes of all heads, side by side.
        task: names the columns, and the labels and answers of a video.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start_seconds", "end_seconds", *task.label_columns, *task.class_columns])
    labels = task.label_cells([sample.labels for sample in samples], probs)
    for sample, cells, values in zip(samples, labels, probs.tolist(), strict=True):
        path = sample.path if sample.entry is None else f"{sample.path}:{sample.entry}"
        writer.writerow([path, *segment_cells(sample), *cells, *(f"{value:.6g}" for value in values)])
    return text.getvalue()
