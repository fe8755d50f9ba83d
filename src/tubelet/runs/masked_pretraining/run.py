"""A run of the task ``masked_pretraining`` in a folder, from footage to an encoder, and resumed there after a kill.

    recipe.yaml  run.json  log.csv  validation.csv  tensorboard/  resume.pt: as of every run (``tubelet.runs.run``)
    best/ last/  checkpoints of the encoder without classes, and the decoder beside it
    evaluation/<split>/metrics.json

The engine is that of every run: masks stand in place of labels, and the model gives the error of each clip. The split
"test" is never read, so that what is trained from the encoder can be tested on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tubelet.config import to_dict
from tubelet.data.clips.normalize import to_input
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.content_hash import may_hash
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import DataError
from tubelet.evaluation.evaluate import METRICS
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.evaluation.trained_on import KEY, TrainedOn
from tubelet.files import write_atomically
from tubelet.recipe import Recipe
from tubelet.runs.completed import CompletedRun
from tubelet.runs.data import read_data_of_all
from tubelet.runs.folder import check_shared, open_folder, read_facts
from tubelet.runs.masked_pretraining.dataset import MaskedClips
from tubelet.runs.masked_pretraining.model import PretrainingModel, config_of, first_pretraining
from tubelet.runs.masked_pretraining.validation import Validation
from tubelet.runs.working_folder import working_in
from tubelet.session.device import keep_freed_memory
from tubelet.session.session import Session
from tubelet.training.engine import fit
from tubelet.training.setup import TrainingSetup
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.state.resume import TrainingState


@dataclass(frozen=True, kw_only=True)
class PaintedSplit(MeasuredSplit):
    """A measured split with some of its clips as they were painted."""

    pictures: Mapping[str, UInt8[np.ndarray, "T H W 3"]] = field(default_factory=dict)  # by the name of the clip


def run_masked_pretraining(recipe: Recipe, folder: Path, session: Session, *, like: Path | None = None) -> CompletedRun:
    """Pre-train in ``folder``, resuming what is there, and measure the best encoder on the validation split.

    Args:
        session: listens for signals meanwhile. Of several processes, the first writes.
        like: the folder of another run of the same study, whose split a new run takes. None means its own.

    Raises:
        TubeletError: data, recipe or folder cannot be used.
        Stopped: a signal came; the run resumes where it was.
    """
    processes, manifest = session.processes, read_data_of_all(recipe, folder, like, session)
    for note in (*recipe.data.notes, *manifest.notes, *_test_note(manifest)):
        session.progress.note(note)
    footage = _footage(recipe, manifest)
    if session.device.type == "cpu":
        keep_freed_memory()  # because every step takes the same large blocks, which are slow to get anew
    with working_in(folder, session) as hold:
        known, has_state = read_facts(folder).get("init"), (folder / STATE).exists()
        if not read_facts(folder):
            processes.on_main(lambda: check_files(footage))
        model = processes.main_first(lambda: first_pretraining(recipe, session, provenance=known, has_state=has_state))
        first = model.first
        processes.on_main(lambda: open_folder(first.recipe, manifest, folder, session.device, first.provenance))
        check_shared(folder)
        processes.on_main(lambda: index_manifest(footage, session=session, **_reading(recipe)))
        with Validation(first.recipe, model, footage, session) as validation:
            state = _train(model, footage, folder, session, hold.check, validation)
            processes.on_main(lambda: None)  # wait until process 0 wrote the best checkpoint
            measured = _finish(model, folder, session, validation)
    return CompletedRun(folder=folder, state=state, evaluation=measured, manifest=manifest, protocol=first.protocol)


def _test_note(manifest: Manifest) -> tuple[str, ...]:
    number = len(manifest.split("test")) if "test" in manifest.splits else 0
    return (f"{number:,} test clips are left out: pre-training never reads them",) if number else ()


def _footage(recipe: Recipe, manifest: Manifest) -> Manifest:
    """The rows that pre-training may read."""
    if manifest.layout == LAYOUT:
        raise DataError(f"{recipe.data.source}: holds stored features; pre-training needs the clips themselves")
    if "train" not in manifest.splits:
        raise DataError(f"{recipe.data.source}: has no training clips, only {', '.join(manifest.splits)}")
    return manifest.with_samples([sample for sample in manifest.samples if sample.split != "test"])


def _reading(recipe: Recipe) -> dict[str, Any]:
    return {"num_workers": recipe.data.num_workers, "timeout_seconds": recipe.data.decode_timeout_seconds}


def training_loader(model: PretrainingModel, manifest: Manifest, session: Session) -> Loader:
    """Read this process's clips of every batch, each with its mask."""
    recipe = model.first.recipe
    clips = ClipDataset(
        manifest.split("train"),
        model.first.protocol,
        "train",
        recipe.augment,
        recipe.seed,
        augment_later=recipe.data.augments_on(session.device.type),
    )
    return Loader(
        MaskedClips(clips, config_of(recipe), model.grid, recipe.seed),
        recipe.training.batch_size,
        seed=recipe.seed,
        rank=session.processes.rank,
        num_processes=session.processes.size,
        targets=model.task.targets,
        **_reading(recipe),
    )


def _train(
    model: PretrainingModel,
    footage: Manifest,
    folder: Path,
    session: Session,
    check: Callable[[], None],
    validation: Validation,
) -> TrainingState:
    first, contents, facts = model.first, dict[str, str](), read_facts(folder)
    recipe, train = first.recipe, footage.split("train")

    def save(path: Path) -> None:
        check()
        trained_on = (TrainedOn.of(train, contents) if contents else TrainedOn(len(train), 0, {})).to_dict()
        model.save(path, first.record({"recipe": to_dict(recipe), **facts, KEY: trained_on}))

    has_validation = validation.split == "val"
    if not has_validation:
        session.progress.note("no validation split: the last weights are taken as the best")
    with training_loader(model, footage, session) as loader:
        setup = TrainingSetup(
            model=model.error,
            loader=loader,
            prepare=partial(to_input, protocol=first.protocol, device=session.device),
            validate=validation.measure if has_validation else None,
            look=validation.look if has_validation else None,
            save=save,
            check_folder=check,
            training=recipe.training,
            optim=recipe.optim,
            seed=recipe.seed,
            failure_budget=recipe.data.failure_budget,
            frozen=first.frozen,
            contents=contents,
            task=model.task,
        )
        if may_hash(train):
            loader.hash_files()
        return fit(setup, folder, session)


def _finish(model: PretrainingModel, folder: Path, session: Session, validation: Validation) -> PaintedSplit:
    """Measure the best encoder, as it stands on disk."""
    model.load(folder / "best")
    model.encoder.to(session.device)
    model.error.to(session.device).eval()
    metrics = {**validation.measure(model.error), **validation.neighbors()}
    measured = validation.evaluate(validation.split, metrics)
    painted = PaintedSplit(**vars(measured), pictures=validation.pictures())
    if session.processes.is_main:
        out = folder / "evaluation" / validation.split
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / METRICS, json.dumps(painted.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return painted
