"""A run: a recipe carried out in a folder, from data to metrics, and resumed there after a kill.

    recipe.yaml  run.json (versions, data fingerprint)  log.csv  validation.csv  tensorboard/  unreadable.csv (if any)
    resume.pt  best/ and last/ (checkpoints)  evaluation/<split>/metrics.json and scores.csv

Each of these is there whole or not at all, except the tables and events, which grow line by line.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import nn

from tubelet.config import to_dict
from tubelet.data.clips.normalize import to_input
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.content_hash import may_hash
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import Diverged, ScoresNotFinite
from tubelet.evaluation.calibrate import MAX_VIDEOS, learn_calibration
from tubelet.evaluation.evaluate import METRICS, Evaluation, evaluate, write_evaluation
from tubelet.evaluation.rejection import UnknownLogits, score_unknown, with_rejection
from tubelet.evaluation.trained_on import KEY, TrainedOn
from tubelet.inference.rejection import MIN_VIDEOS
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.runs.completed import CompletedRun
from tubelet.runs.data import protocol_of, read_data_of_all, read_run_data
from tubelet.runs.folder import check_same_recipe, check_shared, open_folder, read_facts, with_own_encoder
from tubelet.runs.initialization import InitializedModel, first_model
from tubelet.runs.masked_pretraining.before import pretrain_before, record_pretraining
from tubelet.runs.masked_pretraining.run import run_masked_pretraining
from tubelet.runs.per_frame.run import run_per_frame
from tubelet.runs.working_folder import working_in
from tubelet.session.device import keep_freed_memory
from tubelet.session.progress import NoProgress, Progress
from tubelet.session.session import Session
from tubelet.tasks.choose import task_for
from tubelet.training.engine import fit
from tubelet.training.setup import TrainingSetup
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.state.resume import TrainingState
from tubelet.weights.checkpoint.checkpoint import save_checkpoint, write_calibration
from tubelet.weights.init.source import fetch_source
from tubelet.weights.open_checkpoint import open_checkpoint

FEW_CLIPS = 1000  # with fewer for training, a probe is named


def run_recipe(
    recipe: Recipe,
    folder: Path,
    session: Session,
    *,
    final_split: Literal["test", "val"] = "test",
    like: Path | None = None,
) -> CompletedRun:
    """Train by ``recipe`` in ``folder`` (resuming what is there), then evaluate the best checkpoint.

    Args:
        session: listens for signals meanwhile. Of several processes, the first writes.
        final_split: what the best checkpoint is evaluated on in the end, where the data have it. Whoever chooses
            between runs must not see the test split, and passes "val".
        like: the folder of another run of the same study, whose split a new run takes. None means its own.

    Raises:
        TubeletError: Data, recipe or folder cannot be used. Nothing that was there is lost, and a new folder stays only
            if the run can resume in it.
        Stopped: SIGTERM or SIGINT came. The run resumes from the step after which it ended.
    """
    recipe = with_own_encoder(recipe, folder)
    check_same_recipe(folder, recipe)
    if recipe.pretrain_on is not None:
        pretrain_before(recipe, folder, session, like)
    if recipe.per_frame is not None:
        return run_per_frame(recipe, folder, session, final_split=final_split, like=like)
    if recipe.init is not None and not (folder / STATE).exists():  # before data are read, which may take long
        session.processes.main_first(partial(fetch_source, recipe.init.source))
    if recipe.masked_pretraining is not None:
        return run_masked_pretraining(recipe, folder, session, like=like)
    processes, manifest = session.processes, read_data_of_all(recipe, folder, like, session)
    for note in (*recipe.data.notes, *manifest.notes, *_few_clips(recipe, manifest, final_split)):
        session.progress.note(note)
    if session.device.type == "cpu":
        keep_freed_memory()  # because every step takes the same large blocks, which are slow to get anew
    with working_in(folder, session) as hold:
        known, has_state = read_facts(folder).get("init"), (folder / STATE).exists()
        if not read_facts(folder):  # what a run began with, it goes on with
            processes.on_main(lambda: check_files(manifest))
        # Process 0 goes first, because it may have to download the weights.
        first = processes.main_first(
            lambda: first_model(recipe, manifest, session, provenance=known, has_state=has_state)
        )
        processes.on_main(lambda: open_folder(first.recipe, manifest, folder, session.device, first.provenance))
        if recipe.pretrain_on is not None:
            processes.on_main(lambda: record_pretraining(folder))
        if hold.taken_from is not None:
            session.progress.note(f"goes on in place of {hold.taken_from.name}, which ended without a word")
        check_shared(folder)
        processes.on_main(lambda: index_manifest(manifest, session=session, **_reading(first.recipe)))
        state = _train(first, manifest, folder, session, hold.check)
        processes.on_main(lambda: None)  # wait until process 0 wrote the best checkpoint
        split = next((name for name in (final_split, "val", "train") if name in manifest.splits), "train")
        hold.check()
        if split == "train":
            session.progress.note(
                "no clip is held out: the figures are of the clips trained on and say nothing about new ones; "
                "--folds 5 cross-validates"
            )
        out = folder / "evaluation" / split
        unknown = None
        learns = final_split == "test" and task_for(first.protocol, manifest).is_calibrated
        if learns and "val" in manifest.splits and not _is_earlier(out / METRICS):
            unknown = _calibrate(first.recipe, manifest, folder, session)
        evaluation = _evaluate_best(first.recipe, manifest, folder, out, split, session, unknown=unknown)
    return CompletedRun(folder=folder, state=state, evaluation=evaluation, manifest=manifest, protocol=first.protocol)


def _few_clips(recipe: Recipe, manifest: Manifest, final_split: str) -> tuple[str, ...]:
    """Where a probe takes minutes, its command; nothing is switched."""
    number = len(manifest.split("train")) if "train" in manifest.splits else 0
    if recipe.init is None or number >= FEW_CLIPS or final_split != "test":
        return ()
    command = shlex.join(["tubelet", "probe", "--data", recipe.data.source, "--encoder", recipe.init.source])
    return (f"{number} training clips are few for a whole model; heads on the frozen encoder take minutes: {command}",)


def _train(
    first: InitializedModel, manifest: Manifest, folder: Path, session: Session, check: Callable[[], None]
) -> TrainingState:
    recipe, facts, contents = first.recipe, read_facts(folder), dict[str, str]()

    def save(path: Path) -> None:
        check()
        train = manifest.split("train")
        trained_on = (TrainedOn.of(train, contents) if contents else TrainedOn(len(train), 0, {})).to_dict()
        save_checkpoint(path, first.model, first.record({"recipe": to_dict(recipe), **facts, KEY: trained_on}))

    with (
        _training_loader(recipe, manifest, first.protocol, session) as loader,
        _Validation(recipe, manifest, session) as validation,
    ):
        has_validation = "val" in manifest.splits
        if not has_validation:
            session.progress.note("no validation split: the last weights are taken as the best")
        setup = TrainingSetup(
            model=first.model,
            loader=loader,
            prepare=partial(to_input, protocol=first.protocol, device=session.device),
            validate=validation if has_validation else None,
            save=save,
            check_folder=check,
            training=recipe.training,
            optim=recipe.optim,
            seed=recipe.seed,
            mix=recipe.augment.mix,
            failure_budget=recipe.data.failure_budget,
            frozen=first.frozen,
            contents=contents,
            task=task_for(first.protocol, manifest),
        )
        if may_hash(manifest.split("train")):
            loader.hash_files()
        return fit(setup, folder, session)


def _training_loader(recipe: Recipe, manifest: Manifest, protocol: Protocol, session: Session) -> Loader:
    """Read this process's rows of every training batch."""
    dataset = make_dataset(
        manifest.split("train"),
        protocol,
        "train",
        recipe.augment,
        recipe.seed,
        augment_later=recipe.data.augments_on(session.device.type),
    )
    return Loader(
        dataset,
        recipe.training.batch_size,
        seed=recipe.seed,
        sampling=recipe.training.sampling,
        rank=session.processes.rank,
        num_processes=session.processes.size,
        targets=task_for(protocol, manifest).targets,
        **_reading(recipe),
    )


class _LoaderOptions(TypedDict):
    """How every loader of a run reads."""

    num_workers: int
    timeout_seconds: float


class _NotesOnce(NoProgress):
    """Shows each note once, because every validation meets the same unreadable videos."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.shown = progress, set[str]()

    def note(self, text: str) -> None:
        if text not in self.shown:
            self.progress.note(text)
        self.shown.add(text)


class _Validation:
    """Evaluates the validation split with one centered view, as ``tubelet evaluate`` does. Its workers stay alive."""

    def __init__(self, recipe: Recipe, manifest: Manifest, session: Session) -> None:
        self.recipe, self.manifest = recipe, manifest
        self.session = dataclasses.replace(session, progress=_NotesOnce(session.progress))
        self.protocol = dataclasses.replace(protocol_of(recipe, manifest), num_temporal_views=1, num_spatial_crops=1)
        self.loader: Loader | None = None

    def __call__(self, model: nn.Module) -> Mapping[str, Any]:
        if self.loader is None:
            self.loader = _views_loader(self.recipe, self.manifest.split("val"), self.protocol, self.session)
        try:
            result = evaluate(
                model,
                self.loader,
                self.protocol,
                self.session,
                split="val",
                precision=self.recipe.training.precision,
                failure_budget=self.recipe.data.failure_budget,
            )
        except ScoresNotFinite as error:  # after a step whose own loss was still finite
            raise Diverged(f"validation: {error}; lower optim.lr") from None
        return result.to_dict()

    def __enter__(self) -> _Validation:
        return self

    def __exit__(self, *_: object) -> None:
        if self.loader is not None:
            self.loader.close()


def evaluate_run(recipe: Recipe, folder: Path, out: Path, session: Session, *, num_temporal_views: int) -> Evaluation:
    """Evaluate the best checkpoint of a finished run on the test split, with another number of temporal views.

    Args:
        out: folder for ``metrics.json`` and ``scores.csv``.
    """
    manifest = read_run_data(recipe, folder)
    return _evaluate_best(recipe, manifest, folder, out, "test", session, num_temporal_views=num_temporal_views)


def _evaluate_best(
    recipe: Recipe,
    manifest: Manifest,
    folder: Path,
    out: Path,
    split: str,
    session: Session,
    *,
    num_temporal_views: int | None = None,
    unknown: UnknownLogits | None = None,
) -> Evaluation:
    """Evaluate the best checkpoint, read back from disk, with all views of the protocol or another number of them.

    Args:
        unknown: what the checkpoint says of unknown clips, where that has been computed.
    """
    model, record = open_checkpoint(folder / "best")
    protocol = record.protocol
    if num_temporal_views is not None:
        protocol = dataclasses.replace(protocol, num_temporal_views=num_temporal_views)
    with _views_loader(recipe, manifest.split(split), protocol, session) as loader:
        result = evaluate(
            model.to(session.device),
            loader,
            protocol,
            session,
            split=split,
            precision=record.precision,
            calibration=record.calibration,
            train=manifest.split("train"),
            failure_budget=recipe.data.failure_budget,
            out=out if session.processes.is_main else None,
        )
        if record.calibration.rejection is not None:
            unknown = unknown or score_unknown(model, protocol, session.device, record.precision)
            result = with_rejection(result, protocol, unknown)
    if session.processes.is_main:
        write_evaluation(result, out)
    return result


def _is_earlier(metrics: Path) -> bool:
    """Whether an earlier version finished the run, whose checkpoint stays as it is."""
    return metrics.exists() and "calibration" not in json.loads(metrics.read_text(encoding="utf-8"))


def _calibrate(recipe: Recipe, manifest: Manifest, folder: Path, session: Session) -> UnknownLogits | None:
    """Put what validation videos say of the best weights' scores into their checkpoint, unless it stands there.

    Returns what the weights say of unknown clips, or None where that was not needed.
    """
    model, record = open_checkpoint(folder / "best")
    if record.calibration.num_videos:
        return None
    model, protocol = model.to(session.device), record.protocol
    rows = manifest.split("val").samples
    some = rows[:: -(-len(rows) // MAX_VIDEOS)]
    with _views_loader(recipe, dataclasses.replace(manifest, samples=some), protocol, session) as loader:
        validation = evaluate(
            model,
            loader,
            protocol,
            session,
            split="val",
            precision=record.precision,
            failure_budget=recipe.data.failure_budget,
        )
    unknown = score_unknown(model, protocol, session.device, record.precision)
    calibration = learn_calibration(validation, protocol, unknown)
    if not calibration.temperatures:
        session.progress.note(
            f"temperature 1 and no rejection: {MIN_VIDEOS} validation videos are needed, there are "
            f"{calibration.num_videos}"
        )
    session.processes.on_main(lambda: write_calibration(folder / "best", calibration))
    return unknown


def _views_loader(recipe: Recipe, manifest: Manifest, protocol: Protocol, session: Session) -> Loader:
    """Read batches of about as many clips as a process has of a training batch."""
    processes = session.processes
    batch_size = max(1, recipe.training.batch_size // (protocol.num_views * processes.size))
    dataset = make_dataset(manifest, protocol, "views")
    targets = task_for(protocol, manifest).targets
    rank, size = processes.rank, processes.size
    return Loader(dataset, batch_size, rank=rank, num_processes=size, targets=targets, **_reading(recipe))


def _reading(recipe: Recipe) -> _LoaderOptions:
    return {"num_workers": recipe.data.num_workers, "timeout_seconds": recipe.data.decode_timeout_seconds}
