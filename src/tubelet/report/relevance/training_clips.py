"""Clips that a run was trained on, explained in the same way as one clip: what its colors are scaled by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import TubeletError
from tubelet.explain.explanation import Explanation
from tubelet.inference.moments.head_file import has_head
from tubelet.inference.predictor import Classifier
from tubelet.recipe import RECIPE
from tubelet.report.relevance.explained_row import explain_row
from tubelet.report.relevance.scale import ALONE, Scale, scale_over
from tubelet.runs.data import read_run_data
from tubelet.runs.folder import resume_recipe
from tubelet.session.progress import Progress


def scale_of(classifier: Classifier, explanation: Explanation, num_clips: int, progress: Progress) -> Scale:
    """The scale over training clips of the explained class, as many as are asked for, or of the clip alone.

    It is of the clip alone, and a note says why, where the checkpoint lies in no run or its data cannot be read.
    """
    if num_clips == 0:
        return scale_over([explanation], ALONE)
    try:
        manifest, run = _data_of_run(classifier.folder)
        found = list(_explained(classifier, explanation, manifest, num_clips, progress))
    except (TubeletError, OSError) as error:
        progress.note(f"colors are scaled by this clip alone, for there are no training clips: {error}")
        return scale_over([explanation], f"{ALONE} (no training clips at hand)")
    return scale_over(found, f"{len(found)} training clips of {explanation.label} in {run}")


def _data_of_run(checkpoint: Path | None) -> tuple[Manifest, str]:
    if checkpoint is None:
        raise TubeletError("the checkpoint is no folder of a run")
    if has_head(checkpoint):
        raise TubeletError("a model with a per-frame head was trained on films")
    run = next((place for place in (checkpoint, checkpoint.resolve().parent) if (place / RECIPE).is_file()), None)
    if run is None:
        raise TubeletError(f"{checkpoint}: no run, which would have a recipe.yaml")
    manifest = read_run_data(resume_recipe(run), run).split("train")
    if manifest.layout == LAYOUT:
        raise TubeletError(f"{run}: was trained on stored features, which have no frames")
    return manifest, run.resolve().name


def _explained(
    classifier: Classifier, explanation: Explanation, manifest: Manifest, num_clips: int, progress: Progress
) -> Iterator[Explanation]:
    rows = _rows_of(manifest, explanation)[:num_clips]
    if not rows:
        raise TubeletError(f"the training split has no clip of {explanation.label}")
    dataset = ClipDataset(manifest, classifier.protocol, "views")
    for done, row in enumerate(rows):
        progress.advance(done, len(rows), "training clips for the scale")
        yield explain_row(
            classifier,
            dataset,
            row,
            classifier.protocol,
            explanation.config,
            class_name=explanation.label,
            head=explanation.head,
        )


def _rows_of(manifest: Manifest, explanation: Explanation) -> list[int]:
    """Rows of the class, spread over the split."""
    if explanation.head not in manifest.class_names:
        raise TubeletError(f"the training data have no label '{explanation.head}'")
    place = list(manifest.class_names).index(explanation.head)
    names = manifest.class_names[explanation.head]
    rows = [
        row
        for row, sample in enumerate(manifest.samples)
        for label in labels_of(sample.labels, place, multi_label=manifest.multi_label)
        if label >= 0 and names[label] == explanation.label
    ]
    step = max(1, len(rows) // 16)
    return rows[::step] + [row for i, row in enumerate(rows) if i % step]
