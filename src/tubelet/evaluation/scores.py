"""``scores.csv``: what a model said about every video of a split, one row per video and one column per class.

one head         path, start_seconds, end_seconds, label, predicted, then the classes
several heads    ..., HEAD and HEAD_predicted of each, then HEAD:CLASS; empty where a video has no label of a head
several labels   ..., label (joined by |), then the classes; nothing is "predicted", for that takes a threshold
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from tubelet.data.manifest.manifest import Sample
from tubelet.tasks.heads import split_heads

LABEL_SEPARATOR = "|"


def scores_csv(
    samples: Sequence[Sample],
    probs: Float[Tensor, "N K"],
    class_names: Mapping[str, Sequence[str]],
    *,
    multi_label: bool = False,
) -> str:
    """The text of the table.

    Args:
        samples: one for each row of ``probs``.
        probs: of the classes of all heads, side by side.
        class_names: of each head.
        multi_label: whether a sample's labels are all the classes it has, not one of each head.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, several = list(class_names.values()), len(class_names) > 1
    labels = [column for head in class_names for column in (head, f"{head}_predicted")] if several else ["label"]
    if not several and not multi_label:
        labels.append("predicted")
    columns = [f"{head}:{name}" if several else name for head, of in class_names.items() for name in of]
    writer.writerow(["path", "start_seconds", "end_seconds", *labels, *columns])
    best = [part.argmax(-1).tolist() for part in split_heads(probs, [len(of) for of in names])]  # of each head
    for row, (sample, values) in enumerate(zip(samples, probs.tolist(), strict=True)):
        path = sample.path if sample.entry is None else f"{sample.path}:{sample.entry}"
        bounds = ["" if x is None else x for x in (sample.start_seconds, sample.end_seconds)]
        if multi_label:
            cells = [LABEL_SEPARATOR.join(names[0][label] for label in sample.labels)]
        else:
            cells = []
            for of, label, predicted in zip(names, sample.labels, best, strict=True):
                cells += [of[label] if label >= 0 else "", of[predicted[row]]]
        writer.writerow([path, *bounds, *cells, *(f"{value:.6g}" for value in values)])
    return text.getvalue()
