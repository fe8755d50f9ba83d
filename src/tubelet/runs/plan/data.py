"""What there is to train on: rows of each split, classes, missing files, and whether a clip can be read."""

from __future__ import annotations

import dataclasses
import time

from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.dataset import Dataset
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import TubeletError
from tubelet.runs.data import protocol_of, read_run_data
from tubelet.runs.folder import read_facts
from tubelet.runs.plan.parts import DataPlan, Plan

_TRIED_ROWS = 3  # of the training split, until one can be read


def look_at_data(plan: Plan) -> Manifest | None:
    """Note rows and missing files, and return the manifest if the run could use it."""
    data, manifest = plan.recipe.data, None
    with plan.noting_problems():
        manifest = read_run_data(plan.recipe, plan.folder)
        plan.notes += (*data.notes, *manifest.notes)
    if manifest is None:
        try:
            unchecked = read_manifest(data.path, data.manifest, is_checked=False)
        except TubeletError:
            return None  # the problem is told already
        absent = tuple(dict.fromkeys(s.path for s in unchecked.samples if not unchecked.path_of(s).exists()))
        plan.data = _data_plan(unchecked, (*unchecked.missing, *absent))
        return None
    plan.data = _data_plan(manifest, manifest.missing)
    if not read_facts(plan.folder):
        with plan.noting_problems():
            check_files(manifest)
    if "val" not in manifest.splits:
        plan.note("no validation split: the last weights are taken as the best")
    with plan.noting_problems():
        recipe, rows = plan.recipe, manifest.split("train")
        protocol = protocol_of(recipe, manifest)
        dataset = make_dataset(rows, protocol, "train", recipe.augment, recipe.seed)
        plan.data = dataclasses.replace(plan.data, clip_seconds=_read_one(plan, dataset))
    return manifest


def _data_plan(manifest: Manifest, missing: tuple[str, ...]) -> DataPlan:
    counts = {split: len(manifest.split(split)) for split in manifest.splits}
    unseen = {head: len(names) for head, names in manifest.class_names.items()}
    if "train" in counts:
        train = manifest.split("train")
        unseen = {head: sum(not count for count in train.class_counts(head).values()) for head in unseen}
    return DataPlan(
        layout=manifest.layout,
        rows=counts,
        classes={head: len(names) for head, names in manifest.class_names.items()},
        without_training=unseen,
        missing=missing,
        label_findings=manifest.label_findings,
    )


def _read_one(plan: Plan, dataset: Dataset) -> float | None:
    """Seconds to read one training clip; a problem if none of the first few can be read."""
    for index in range(min(_TRIED_ROWS, len(dataset))):
        began = time.perf_counter()
        try:
            dataset.read(index)
        except TubeletError as error:
            plan.note(f"cannot be read: {error}")
        else:
            return time.perf_counter() - began
    plan.problems.append(f"none of the first {min(_TRIED_ROWS, len(dataset))} training videos can be read (see above)")
    return None
