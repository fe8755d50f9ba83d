"""The clips of an evaluation that are worth looking at: of each class the worst mistakes, and those that were close.

Each clip is shown as the model gets it, by one centered view: sampled, resized and cropped, before normalization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.errors import DataError
from tubelet.evaluation.evaluate import Evaluation
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.protocol import Protocol
from tubelet.report.film_strip import frames_of
from tubelet.report.relevance.report_clips import ClipExplainer
from tubelet.report.run_report import Example, ExampleKind
from tubelet.session.progress import Progress
from tubelet.tasks.judgment import Judgment

MAX_CLIPS = 40  # of a page; each takes about 40 KB
MAX_PER_CLASS = 2  # wrong ones, and as many close ones
NUM_SCORES = 3  # best answers shown beside a clip

Judged = tuple[int, Judgment]  # row of the evaluation


def hard_clips(
    evaluation: MeasuredSplit,
    manifest: Manifest,
    protocol: Protocol,
    progress: Progress,
    explainer: ClipExplainer | None = None,
) -> list[Example]:
    """The film strips, class by class, the class with most mistakes first.

    A clip that cannot be read any more is left out, and so are all of a feature store, which has no frames, and films,
    whose steps are judged and not they themselves.

    Args:
        manifest: the data that were evaluated; other splits may be in it.
        protocol: how the model gets a clip.
        explainer: shows where the model looked in some of them. None means that this is not shown.
    """
    if manifest.layout == LAYOUT or not isinstance(evaluation, Evaluation):
        return []
    chosen = list(choose_clips(evaluation.task.judge([s.labels for s in evaluation.samples], evaluation.probs)))
    rows = tuple(evaluation.samples[row] for _, _, (row, _) in chosen)
    centered = dataclasses.replace(protocol, num_temporal_views=1, num_spatial_crops=1)
    dataset = ClipDataset(dataclasses.replace(manifest, samples=rows), centered, "views")
    found = []
    for number, (group, kind, (row, judgment)) in enumerate(chosen):
        progress.advance(number, len(chosen), "film strips")
        try:
            frames = frames_of(dataset, number)
        except DataError as error:
            progress.note(f"no film strip: {error}")
            continue
        why = None if explainer is None else explainer.explain(dataset, number, judgment.label, judgment.predicted)
        best = evaluation.task.rank(evaluation.probs[row], NUM_SCORES)
        found.append(
            Example(
                title=row_path(rows[number]),
                group=group,
                kind=kind,
                true_label=judgment.label,
                predicted=judgment.predicted,
                predictions=list(zip(best.labels, best.probs, strict=True)),
                frames=frames,
                file=file_of(manifest, rows[number]),
                seconds=(rows[number].start_seconds, rows[number].end_seconds),
                explanation=why,
            )
        )
    return found


def choose_clips(judged: Sequence[Judgment | None]) -> Iterator[tuple[str, ExampleKind, Judged]]:
    """Class with its count of mistakes, kind ("wrong" or "close") and judgment of the clips to show."""
    classes: dict[str, list[Judged]] = {}
    for row, judgment in enumerate(judged):
        if judgment is not None:
            classes.setdefault(judgment.label, []).append((row, judgment))
    num_wrong = {name: sum(j.is_wrong for _, j in rows) for name, rows in classes.items()}
    order = sorted(classes, key=lambda name: (-num_wrong[name], name))
    per_class = min(MAX_PER_CLASS, max(1, MAX_CLIPS // (2 * len(order)))) if order else 0
    for name in order[: MAX_CLIPS // (2 * max(1, per_class))]:
        group = f"{name}: {num_wrong[name]} of {len(classes[name])} wrong"
        wrong = [item for item in classes[name] if item[1].is_wrong]
        worst = sorted(wrong, key=lambda item: -item[1].loss)[:per_class]
        rest = [item for item in classes[name] if item not in worst]
        yield from ((group, "wrong", item) for item in worst)
        yield from ((group, "close", item) for item in sorted(rest, key=lambda item: item[1].margin)[:per_class])


def file_of(manifest: Manifest, sample: Sample) -> Path | None:
    """What a link can open: not a row inside a larger file."""
    return None if sample.entry is not None else manifest.path_of(sample)
