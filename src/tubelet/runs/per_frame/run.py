"""A run of the task ``per_frame`` in a folder, from labels of films to figures, and resumed there after a kill.

    recipe.yaml  run.json  log.csv  validation.csv  tensorboard/  resume.pt: as of every run (``tubelet.runs.run``)
    backbone/    the model whose features are used, as it was when the run began
    features/    features of the steps of every film, unless the recipe names another folder, or trains the backbone
    best/ last/  checkpoints of the backbone with the head beside it (``tubelet.inference.moments.head_file``)
    evaluation/<split>/metrics.json and bouts.csv

The engine is that of every run: the head is its model and windows of stored features are its clips, or backbone and
head are, and windows of frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from tubelet.config import to_dict
from tubelet.data.layouts.bouts.bout import FilmLabels
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.split import leak_of
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.errors import ConfigError, DataError
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.inference.moments.end_to_end import PerFrameModel
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.head_file import HeadRecord, with_rules, write_record
from tubelet.models import create_model
from tubelet.recipe import Recipe
from tubelet.runs.completed import CompletedRun
from tubelet.runs.data import read_data_of_all
from tubelet.runs.folder import open_folder, read_facts, write_facts
from tubelet.runs.initialization import initialize_model, read_initialization
from tubelet.runs.per_frame.evaluate import write_split
from tubelet.runs.per_frame.films import FEATURES, TrainingFilm, digest_of_bouts, labeled_films, store_features
from tubelet.runs.per_frame.frame_windows import FrameWindows, read_grids
from tubelet.runs.per_frame.trained import BACKBONE, EndToEnd, OnFeatures, Training
from tubelet.runs.per_frame.windows import WindowDataset
from tubelet.runs.working_folder import working_in
from tubelet.session.session import Session
from tubelet.tasks.per_frame.choose_rules import choose_rules
from tubelet.tasks.per_frame.config import PerFrameConfig
from tubelet.tasks.per_frame.targets import UNLABELED, seen_classes
from tubelet.tasks.per_frame.task import PerFrame, class_names_of
from tubelet.training.engine import fit
from tubelet.training.optim.groups import freeze
from tubelet.training.setup import TrainingSetup
from tubelet.training.state.resume import TrainingState
from tubelet.weights.checkpoint.checkpoint import read_record, save_checkpoint
from tubelet.weights.open_checkpoint import open_checkpoint


def run_per_frame(
    recipe: Recipe,
    folder: Path,
    session: Session,
    *,
    final_split: Literal["test", "val"] = "test",
    like: Path | None = None,
) -> CompletedRun:
    """Train the head, alone or with its backbone, choose bout rules on validation films and evaluate.

    Arguments are those of ``run_recipe``.

    Raises:
        TubeletError: data, recipe or folder cannot be used.
        Stopped: a signal came; the run resumes where it was.
    """
    if session.processes.size > 1:
        raise ConfigError("per_frame trains in one process; start it without torchrun")
    manifest = read_data_of_all(recipe, folder, like, session)
    labels = read_bouts(recipe.data.path, recipe.data.manifest)
    if leak := leak_of(manifest.samples):
        raise DataError(
            f"{recipe.data.source}: {leak}; give the films of a group one split, or let them be split by it"
        )
    for note in (*recipe.data.notes, *manifest.notes):
        session.progress.note(note)
    with working_in(folder, session) as hold:
        recipe = _open(recipe, manifest, labels, folder, session)
        extractor = _extractor(recipe, folder / BACKBONE, session)
        data = _Data.read(recipe, manifest, labels, extractor, folder, session)
        training = _training(recipe, data, extractor, manifest, folder, session)
        state = _train(training, recipe, data, folder, session, hold.check)
        measured = _finish(training, recipe, data, session, final_split, manifest)
    protocol = extractor.protocol
    return CompletedRun(folder=folder, state=state, evaluation=measured, manifest=manifest, protocol=protocol)


def _extractor(recipe: Recipe, checkpoint: Path, session: Session) -> StepFeatures:
    model, record = open_checkpoint(checkpoint)
    device, kind = session.device, _config(recipe).features
    return StepFeatures(model.to(device).eval(), record.protocol, device, record.precision, kind)


def _training(
    recipe: Recipe, data: _Data, extractor: StepFeatures, manifest: Manifest, folder: Path, session: Session
) -> Training:
    """What the engine trains: the head on stored features, or backbone and head on frames."""
    config, films = _config(recipe), data.films["train"]
    record = data.head_record(config, extractor)
    torch.manual_seed(recipe.seed)
    head = record.make(config.dropout).to(session.device)
    if not config.train_backbone:
        dataset = WindowDataset(films, config, recipe.protocol, record.in_dim, recipe.seed)
        return OnFeatures(folder=folder, session=session, record=record, dataset=dataset, model=head)
    indices = IndexStore.beside(manifest.root, manifest.folder)
    backbone = read_record(folder / BACKBONE)
    frozen = freeze(extractor.model, recipe.freeze)
    facts = {"recipe": to_dict(recipe), **read_facts(folder)}
    return EndToEnd(
        folder=folder,
        session=session,
        record=record,
        dataset=FrameWindows(films, config, extractor, recipe.augment, indices, recipe.seed),
        model=PerFrameModel(extractor.model, head, extractor, config.window_steps),
        backbone=dataclasses.replace(backbone, provenance={**backbone.provenance, **facts}),
        indices=indices,
        frozen=frozen,
    )


def _train(
    training: Training, recipe: Recipe, data: _Data, folder: Path, session: Session, check: Callable[[], None]
) -> TrainingState:
    validation = data.films.get("val", ())

    def save(path: Path) -> None:
        check()
        training.save(path)

    def validate(model: nn.Module) -> Mapping[str, Any]:
        quiet = dataclasses.replace(session, progress=type(session)().progress)
        scores = training.score(model, validation, quiet)
        num_failed = len(data.failed) + len(validation) - len(scores)
        return data.task.measure_films(scores) | {"views": "1x1", "num_failed": num_failed}

    if not validation:
        session.progress.note("no validation films: the last weights are taken as the best, bouts are found at 0.5")
    size, targets = recipe.training.batch_size, data.task.targets
    with Loader(training.dataset, size, recipe.data.num_workers, recipe.seed, targets=targets) as loader:
        setup = TrainingSetup(
            model=training.model,
            loader=loader,
            prepare=training.prepare,
            validate=validate if validation else None,
            save=save,
            check_folder=check,
            training=recipe.training,
            optim=recipe.optim,
            seed=recipe.seed,
            failure_budget=recipe.data.failure_budget,
            frozen=training.frozen,
            task=data.task,
        )
        return fit(setup, folder, session)


def _config(recipe: Recipe) -> PerFrameConfig:
    assert recipe.per_frame is not None  # ``run_recipe`` looked
    return recipe.per_frame


def _open(recipe: Recipe, manifest: Manifest, labels: FilmLabels, folder: Path, session: Session) -> Recipe:
    """Begin the run, with its backbone, or check that what is there is of the same recipe and labels."""
    known = read_facts(folder).get("init")
    has_backbone = (folder / BACKBONE).is_dir()
    initialization = read_initialization(recipe, session, provenance=known, has_state=has_backbone)
    open_folder(initialization.recipe, manifest, folder, session.device, known)
    digest = digest_of_bouts(labels)
    facts = read_facts(folder)
    if facts.setdefault("bouts_fingerprint", digest) != digest:
        raise DataError(
            f"{recipe.data.source}: the bouts changed since the run began; restore them, or start a new run (--out)"
        )
    if not has_backbone:
        if recipe.init is None and not _config(recipe).train_backbone:
            session.progress.note(
                "warning: the backbone's weights are random, and so are the features that the head learns from; give "
                "the recipe trained ones (--init)"
            )
        protocol = dataclasses.replace(recipe.protocol, labels={}, multi_label=False)
        torch.manual_seed(recipe.seed)
        made = create_model(initialization.recipe.model["name"], **initialization.recipe.model_options(num_classes=0))
        first = initialize_model(made, initialization, protocol, session)
        facts["init"] = first.provenance
        save_checkpoint(folder / BACKBONE, first.model, first.record({"init": first.provenance or {}}))
    write_facts(folder, {key: value for key, value in facts.items() if value is not None})
    return initialization.recipe


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The films of every split, and the task that they ask for."""

    task: PerFrame
    films: Mapping[str, Sequence[TrainingFilm]]  # by split
    failed: tuple[str, ...]

    @classmethod
    def read(
        cls,
        recipe: Recipe,
        manifest: Manifest,
        labels: FilmLabels,
        extractor: StepFeatures,
        folder: Path,
        session: Session,
    ) -> _Data:
        config = _config(recipe)
        one = config.labels == "one"
        names = class_names_of(manifest.class_names["label"], one=one)
        budget, grids = recipe.data.failure_budget, None
        if config.train_backbone:
            grids = read_grids(manifest, extractor, folder, budget, session)
            files = {sample.path: manifest.path_of(sample) for sample in manifest.samples if sample.path in grids}
        else:
            record, store = read_record(folder / BACKBONE), config.feature_folder or folder / FEATURES
            files = store_features(manifest, extractor, record, store, folder, budget, session)
        films = labeled_films(
            manifest, labels.films, files, extractor.protocol, names, one=one, observer=config.observer, grids=grids
        )
        by_split = {split: [f for f in films if f.sample.split == split] for split in manifest.splits}
        if not by_split.get("train"):
            raise DataError(f"{recipe.data.source}: no film of the training split can be read")
        counts = sum(seen_classes(film.codes, len(names), one=one).sum(axis=0) for film in by_split["train"])
        labeled = sum(int((film.codes != UNLABELED).sum()) for film in by_split["train"])
        if not labeled:
            raise DataError(f"{recipe.data.source}: no step of the training films is labeled")
        task = PerFrame(
            labels={"label": names}, one=one, step_counts=tuple(np.asarray(counts).tolist()), num_labeled=labeled
        )
        failed = tuple(sample.path for sample in manifest.samples if sample.path not in files)
        return cls(task=task, films=by_split, failed=failed)

    def head_record(self, config: PerFrameConfig, extractor: StepFeatures) -> HeadRecord:
        return HeadRecord(
            labels=self.task.names,
            one=self.task.one,
            head=config.head,
            in_dim=extractor.width,
            hidden_dim=config.hidden_dim,
            num_layers=config.num_layers,
            features=extractor.kind,
            window_steps=config.window_steps,
            hop_steps=config.hop_steps,
        )


def _finish(
    training: Training, recipe: Recipe, data: _Data, session: Session, final_split: str, manifest: Manifest
) -> MeasuredSplit:
    """Choose the bout rules on validation films, write them beside the best head, and evaluate it."""
    folder = training.folder
    best, record = training.read(folder / "best")
    if data.films.get("val") and not record.rules:
        scores = data.task.scores(training.score(best, data.films["val"], session))
        record = with_rules(record, choose_rules(scores), len(scores.films))
        write_record(folder / "best", record)
    split = next((name for name in (final_split, "val", "train") if data.films.get(name)), "train")
    if split == "train":
        session.progress.note("no film is held out: the figures are of films trained on and say nothing about new ones")
    films = training.score(best, data.films[split], session, shifts=True)
    session.progress.note(f"{split}: measuring {len(films)} films, with intervals over films")
    metrics = data.task.measure_films(films, record.bout_rules, with_intervals=True)
    read = {film.name for film in films}
    samples = manifest.split(split).samples
    measured = MeasuredSplit(
        task=data.task,
        metrics=metrics,
        samples=tuple(film.sample for film in data.films[split] if film.sample.path in read),
        failed=tuple(f"{s.path}: cannot be read" for s in samples if s.path not in read),
        views="1x1",
        averaging="probs",
        precision=recipe.training.precision,
        split=split,
        data_fingerprint=manifest.fingerprint,
    )
    write_split(folder / "evaluation" / split, measured, data.task.scores(films, record.bout_rules))
    return measured
