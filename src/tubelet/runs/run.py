"""A run: a recipe carried out in a folder, from data to metrics, and resumed there after a kill.

    recipe.yaml  run.json (versions, data fingerprint)  log.csv  validation.csv  tensorboard/  unreadable.csv (if any)
    resume.pt  best/ and last/ (checkpoints)  evaluation/<split>/metrics.json and scores.csv

Each of these is there whole or not at all, except the tables and events, which grow line by line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import nn

from tubelet.config import to_dict
from tubelet.data.clips.normalize import to_input
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import Diverged, ScoresNotFinite
from tubelet.evaluation.evaluate import Evaluation, evaluate, write_evaluation
from tubelet.files import write_atomically
from tubelet.inference.frame_stage import check_store_training
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.runs.folder import FACTS, account_of_init, begun_or_undone, check_shared, open_folder
from tubelet.runs.initialization import Start, first_model, read_start
from tubelet.session.processes import SINGLE, World
from tubelet.session.progress import NoReporter, Reporter
from tubelet.session.signals import Stopping
from tubelet.training.allocator import keep_freed_memory
from tubelet.training.engine import Task, fit
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.state.resume import Progress
from tubelet.training.state.storage import explaining_storage
from tubelet.weights.checkpoint.checkpoint import save_checkpoint
from tubelet.weights.open import open_checkpoint

OnBatch = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a finished run has to say; ``evaluation`` is on the test split, or on val where there is no test."""

    folder: Path
    progress: Progress
    evaluation: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``, with the run folder and the seconds of training."""
        return self.evaluation.to_dict() | {"run": str(self.folder), "train_seconds": round(self.progress.seconds, 1)}


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    reporter: Reporter,
    on_batch: OnBatch = lambda done, total: None,
    on_file: OnBatch = lambda done, total: None,
    final_split: Literal["test", "val"] = "test",
    world: World = SINGLE,
) -> RunResult:
    """Train by ``recipe`` in ``folder`` (going on from what is there), then evaluate the best checkpoint.

    Args:
        final_split: what the best checkpoint is evaluated on in the end, where the data have it. Whoever chooses
            between runs must not see the test split, and says val.
        world: of several processes that run the recipe together, each with its own device; the first of them writes.

    Raises:
        TubeletError: data, recipe or folder that cannot be used; nothing that was there is lost, and a new folder
            is left behind only if the run can go on in it.
        Stopped: SIGTERM or SIGINT came; the run goes on from the step after which it ended.
    """
    manifest = read_manifest(recipe.data.path, recipe.data.manifest)
    world.check_same(manifest.fingerprint, "data with the fingerprint")
    reporter = reporter if world.is_main else NoReporter()
    for note in (*recipe.data.notes, *manifest.notes):
        reporter.note(note)
    stopping = Stopping(is_alone=world.size == 1)
    with begun_or_undone(folder) if world.is_main else nullcontext(), explaining_storage(folder), stopping:
        has_state = (folder / STATE).exists()
        start = world.main_first(lambda: read_start(recipe, account_of_init(folder), has_state, reporter))
        recipe = start.recipe
        world.on_main(lambda: open_folder(recipe, manifest, folder, device))
        check_shared(folder)
        on_file = stopping.asked_by(on_file)
        world.on_main(lambda: index_manifest(manifest, note=reporter.note, on_file=on_file, **_reading(recipe)))
        progress = _train(start, manifest, folder, device, reporter, world, stopping)
        world.on_main(lambda: None)  # which has now written the best checkpoint
        evaluation = _test(recipe, manifest, folder, device, stopping.asked_by(on_batch), final_split, world)
    return RunResult(folder=folder, progress=progress, evaluation=evaluation)


def _train(
    start: Start,
    manifest: Manifest,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    world: World,
    stopping: Stopping,
) -> Progress:
    recipe = start.recipe
    if device.type == "cpu":
        keep_freed_memory()
    protocol = recipe.protocol_for(manifest)
    model, frozen, save = _first_model(start, manifest, folder, reporter, world)
    with (
        _training_loader(recipe, manifest, protocol, device, world) as loader,
        _Validation(recipe, manifest, device, reporter, world, stopping) as validation,
    ):
        task = Task(
            model=model,
            loader=loader,
            prepare=lambda pixels: to_input(pixels, protocol),
            validate=validation if "val" in manifest.splits else None,
            save=save,
            mix=recipe.augment.mix,
            failure_budget=recipe.data.failure_budget,
            frozen=frozen,
        )
        if task.validate is None:
            reporter.note("no validation split: the last weights are taken as the best")
        return fit(
            task,
            folder,
            recipe.training,
            recipe.optim,
            seed=recipe.seed,
            device=device,
            reporter=reporter,
            world=world,
            stopping=stopping,
        )


def _first_model(
    start: Start, manifest: Manifest, folder: Path, reporter: Reporter, world: World
) -> tuple[nn.Module, tuple[nn.Module, ...], Callable[[Path], None]]:
    """The model with the weights it begins with, its frozen modules, and what saves it as a checkpoint."""
    first = first_model(start, manifest, reporter)
    model, started = first.model, first.started
    has_state = (folder / STATE).exists()
    check_store_training(model, first.record.model_name, started.frozen, manifest, has_state=has_state)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if world.is_main and started.account is not None and started.account != facts.get("init"):
        facts["init"] = started.account
        write_atomically(folder / FACTS, json.dumps(facts, indent=2) + "\n")

    def save(path: Path) -> None:
        provenance = {"recipe": to_dict(start.recipe), **facts}
        save_checkpoint(path, model, dataclasses.replace(first.record, provenance=provenance))

    return model, started.frozen, save


def _training_loader(
    recipe: Recipe, manifest: Manifest, protocol: Protocol, device: torch.device, world: World
) -> Loader:
    """This process's share of every training batch."""
    dataset = make_dataset(
        manifest.split("train"),
        protocol,
        "train",
        recipe.augment,
        recipe.seed,
        augment_later=recipe.data.augments_on(device.type),
    )
    return Loader(
        dataset,
        recipe.training.batch_size,
        seed=recipe.seed,
        sampling=recipe.training.sampling,
        rank=world.rank,
        num_processes=world.size,
        **_reading(recipe),
    )


class _Reading(TypedDict):
    """How every loader of a run reads."""

    num_workers: int
    timeout_seconds: float


class _Validation:
    """The validation split with one centered view, by the path that tests and predicts; its workers stay alive."""

    def __init__(
        self,
        recipe: Recipe,
        manifest: Manifest,
        device: torch.device,
        reporter: Reporter,
        world: World,
        stopping: Stopping,
    ) -> None:
        self.recipe, self.manifest, self.device, self.reporter, self.world = recipe, manifest, device, reporter, world
        self.on_batch = stopping.asked_by(lambda done, total: None)
        self.named = set[str]()  # what could not be read, told once
        self.protocol = dataclasses.replace(recipe.protocol_for(manifest), num_temporal_views=1, num_spatial_crops=1)
        self.loader: Loader | None = None

    def __call__(self, model: nn.Module) -> Mapping[str, Any]:
        if self.loader is None:
            self.loader = _views_loader(self.recipe, self.manifest.split("val"), self.protocol, self.world)
        try:
            result = evaluate(
                model,
                self.loader,
                self.protocol,
                split="val",
                device=self.device,
                precision=self.recipe.training.precision,
                failure_budget=self.recipe.data.failure_budget,
                note=self._note_once,
                on_batch=self.on_batch,
                gather=self.world.gather,
            )
        except ScoresNotFinite as error:  # after a step whose own loss was still finite
            raise Diverged(f"validation: {error}; lower optim.lr") from None
        return result.to_dict()

    def _note_once(self, line: str) -> None:
        if line not in self.named:
            self.reporter.note(line)
        self.named.add(line)

    def __enter__(self) -> _Validation:
        return self

    def __exit__(self, *_: object) -> None:
        if self.loader is not None:
            self.loader.close()


def _test(
    recipe: Recipe,
    manifest: Manifest,
    folder: Path,
    device: torch.device,
    on_batch: OnBatch,
    final_split: Literal["test", "val"],
    world: World,
) -> Evaluation:
    """The best checkpoint, read back from disk, on the test split with all views of the protocol."""
    split = next((name for name in (final_split, "val", "train") if name in manifest.splits), "train")
    return _evaluate_best(
        recipe, manifest, folder, folder / "evaluation" / split, split, device=device, on_batch=on_batch, world=world
    )


def evaluate_run(
    recipe: Recipe, folder: Path, out: Path, *, device: torch.device, num_temporal_views: int
) -> Evaluation:
    """The best checkpoint of a finished run on the test split, with another number of temporal views than its own.

    Args:
        out: folder for ``metrics.json`` and ``scores.csv``.
    """
    manifest = read_manifest(recipe.data.path, recipe.data.manifest)
    return _evaluate_best(recipe, manifest, folder, out, "test", device=device, num_temporal_views=num_temporal_views)


def _evaluate_best(
    recipe: Recipe,
    manifest: Manifest,
    folder: Path,
    out: Path,
    split: str,
    *,
    device: torch.device,
    num_temporal_views: int | None = None,
    on_batch: OnBatch = lambda done, total: None,
    world: World = SINGLE,
) -> Evaluation:
    model, record = open_checkpoint(folder / "best")
    protocol = record.protocol
    if num_temporal_views is not None:
        protocol = dataclasses.replace(protocol, num_temporal_views=num_temporal_views)
    with _views_loader(recipe, manifest.split(split), protocol, world) as loader:
        result = evaluate(
            model.to(device),
            loader,
            protocol,
            split=split,
            device=device,
            train=manifest.split("train"),
            failure_budget=recipe.data.failure_budget,
            out=out if world.is_main else None,
            on_batch=on_batch,
            gather=world.gather,
        )
    if world.is_main:
        write_evaluation(result, out)
    return result


def _views_loader(recipe: Recipe, manifest: Manifest, protocol: Protocol, world: World) -> Loader:
    """Batches of about as many clips as a process has of a training batch."""
    batch_size = max(1, recipe.training.batch_size // (protocol.num_views * world.size))
    dataset = make_dataset(manifest, protocol, "views")
    return Loader(dataset, batch_size, rank=world.rank, num_processes=world.size, **_reading(recipe))


def _reading(recipe: Recipe) -> _Reading:
    return {"num_workers": recipe.data.num_workers, "timeout_seconds": recipe.data.decode_timeout_seconds}
