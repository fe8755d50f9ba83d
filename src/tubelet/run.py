"""A run: a recipe carried out in a folder, from data to metrics, and resumed there after a kill.

    recipe.yaml  run.json (versions, data fingerprint)  log.csv  validation.csv  tensorboard/  unreadable.csv (if any)
    resume.pt  best/ and last/ (checkpoints)  evaluation/<split>/metrics.json and scores.csv

Each of these is there whole or not at all, except the tables and events, which grow line by line.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from tubelet import __version__
from tubelet.config import to_dict
from tubelet.data.dataset import ClipDataset
from tubelet.data.index_dataset import index_manifest
from tubelet.data.loader import Loader
from tubelet.data.manifest import Manifest, read_manifest
from tubelet.data.transforms import normalize
from tubelet.errors import ConfigError, DataError, TubeletError
from tubelet.evaluation.evaluate import Evaluation, evaluate, write_evaluation
from tubelet.files import write_atomically
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe, load_recipe, save_recipe
from tubelet.start import Start, read_start, start_model
from tubelet.training.engine import Task, fit
from tubelet.training.reporter import Reporter
from tubelet.training.resume import FILE as STATE
from tubelet.training.resume import Progress
from tubelet.weights.checkpoint import Record, save_checkpoint
from tubelet.weights.open import open_checkpoint

RECIPE, FACTS = "recipe.yaml", "run.json"
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
) -> RunResult:
    """Train by ``recipe`` in ``folder`` (going on from what is there), then evaluate the best checkpoint.

    Raises:
        TubeletError: data, recipe or folder that cannot be used; nothing that was there is lost, and a new folder
            is left behind only if the run can go on in it.
    """
    manifest = read_manifest(recipe.data.path, recipe.data.manifest)
    for note in manifest.notes:
        reporter.note(note)
    with _begun_or_undone(folder):
        start = read_start(recipe, _account_of_init(folder), (folder / STATE).exists(), reporter)
        recipe = start.recipe
        _open_folder(recipe, manifest, folder, device)
        index_manifest(manifest, note=reporter.note, on_file=on_file, **_reading(recipe))
        progress = _train(start, manifest, folder, device, reporter)
    return RunResult(folder=folder, progress=progress, evaluation=_test(recipe, manifest, folder, device, on_batch))


def resume_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder.

    Raises:
        ConfigError: the folder holds no run.
    """
    if not (folder / RECIPE).is_file():
        raise ConfigError(f"{folder}: no run to resume here (expected a folder with {RECIPE})")
    return load_recipe(str(folder / RECIPE))


@contextmanager
def _begun_or_undone(folder: Path) -> Iterator[None]:
    """After an error, a folder that was missing or empty is so again, unless it holds a state to go on from."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file, expected a folder; give another --out")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    is_new = bool(missing) or not any(folder.iterdir())
    try:
        yield
    except TubeletError:
        if is_new and not (folder / STATE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            if not missing:
                folder.mkdir()
            for parent in missing[1:]:
                with suppress(OSError):  # another run has begun in it
                    parent.rmdir()
        raise


def _open_folder(recipe: Recipe, manifest: Manifest, folder: Path, device: torch.device) -> None:
    """Make the folder, or check that what is there belongs to the same recipe and the same data."""
    if not (folder / RECIPE).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: not empty and not a run; give another --out")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FACTS, json.dumps(_facts(manifest, device), indent=2) + "\n")
        save_recipe(recipe, folder / RECIPE)
        return
    if resume_recipe(folder) != recipe:
        raise ConfigError(f"{folder}: holds a run of another recipe; give another --out, or --resume {folder}")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts["data_fingerprint"] != manifest.fingerprint:
        raise DataError(
            f"{recipe.data.source}: the data changed since the run began (fingerprint {facts['data_fingerprint']}, "
            f"now {manifest.fingerprint}); restore it, or start a new run"
        )


def _facts(manifest: Manifest, device: torch.device) -> dict[str, Any]:
    packages = ("torch", "torchvision", "timm", "av", "numpy")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_fingerprint": manifest.fingerprint,
        "class_counts": {split: _class_counts(manifest.split(split)) for split in manifest.splits},
        "versions": {
            "tubelet": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_threads": torch.get_num_threads(),
    }


def _class_counts(manifest: Manifest) -> dict[str, Any]:
    """Rows of each class; of several heads, by head."""
    if len(manifest.class_names) == 1:
        return manifest.class_counts()
    return {head: manifest.class_counts(head) for head in manifest.class_names}


def _account_of_init(folder: Path) -> dict[str, Any] | None:
    """What an earlier session of the run wrote about its first weights."""
    if not (folder / FACTS).is_file():
        return None
    account: dict[str, Any] | None = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("init")
    return account


def _train(start: Start, manifest: Manifest, folder: Path, device: torch.device, reporter: Reporter) -> Progress:
    recipe = start.recipe
    protocol = recipe.protocol_for(manifest)
    options = recipe.model_options(num_classes=sum(map(len, manifest.class_names.values())))
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model["name"], **options)
    started = start_model(model, start, protocol, reporter)
    record = Record(model_name=recipe.model["name"], model_config=options, protocol=protocol, adapter=started.adapter)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if started.account is not None and started.account != facts.get("init"):
        facts["init"] = started.account
        write_atomically(folder / FACTS, json.dumps(facts, indent=2) + "\n")

    def save(path: Path) -> None:
        provenance = {"recipe": to_dict(recipe), **facts}
        save_checkpoint(path, model, dataclasses.replace(record, provenance=provenance))

    train = ClipDataset(manifest.split("train"), protocol, "train", recipe.augment, recipe.seed)
    with (
        Loader(
            train,
            recipe.training.batch_size,
            seed=recipe.seed,
            sampling=recipe.training.sampling,
            **_reading(recipe),
        ) as loader,
        _Validation(recipe, manifest, device, reporter) as validation,
    ):
        task = Task(
            model=model,
            loader=loader,
            prepare=lambda pixels: normalize(pixels, protocol),
            validate=validation if "val" in manifest.splits else None,
            save=save,
            mix=recipe.augment.mix,
            failure_budget=recipe.data.failure_budget,
            frozen=started.frozen,
        )
        if task.validate is None:
            reporter.note("no validation split: the last weights are taken as the best")
        return fit(task, folder, recipe.training, recipe.optim, seed=recipe.seed, device=device, reporter=reporter)


class _Reading(TypedDict):
    """How every loader of a run reads."""

    num_workers: int
    timeout_seconds: float


class _Validation:
    """The validation split with one centered view, by the path that tests and predicts; its workers stay alive."""

    def __init__(self, recipe: Recipe, manifest: Manifest, device: torch.device, reporter: Reporter) -> None:
        self.recipe, self.manifest, self.device, self.reporter = recipe, manifest, device, reporter
        self.named = set[str]()  # what could not be read, told once
        self.protocol = dataclasses.replace(recipe.protocol_for(manifest), num_temporal_views=1, num_spatial_crops=1)
        self.loader: Loader | None = None

    def __call__(self, model: nn.Module) -> Mapping[str, Any]:
        if self.loader is None:
            self.loader = _views_loader(self.recipe, self.manifest.split("val"), self.protocol)
        result = evaluate(
            model,
            self.loader,
            self.protocol,
            split="val",
            device=self.device,
            precision=self.recipe.training.precision,
            failure_budget=self.recipe.data.failure_budget,
            note=self._note_once,
        )
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


def _test(recipe: Recipe, manifest: Manifest, folder: Path, device: torch.device, on_batch: OnBatch) -> Evaluation:
    """The best checkpoint, read back from disk, on the test split with all views of the protocol."""
    split = next((name for name in ("test", "val", "train") if name in manifest.splits), "train")
    model, record = open_checkpoint(folder / "best")
    with _views_loader(recipe, manifest.split(split), record.protocol) as loader:
        result = evaluate(
            model.to(device),
            loader,
            record.protocol,
            split=split,
            device=device,
            train=manifest.split("train"),
            failure_budget=recipe.data.failure_budget,
            out=folder / "evaluation" / split,
            on_batch=on_batch,
        )
    write_evaluation(result, folder / "evaluation" / split)
    return result


def _views_loader(recipe: Recipe, manifest: Manifest, protocol: Protocol) -> Loader:
    """Batches of about as many clips as a training batch."""
    batch_size = max(1, recipe.training.batch_size // protocol.num_views)
    return Loader(ClipDataset(manifest, protocol, "views"), batch_size, **_reading(recipe))


def _reading(recipe: Recipe) -> _Reading:
    return {"num_workers": recipe.data.num_workers, "timeout_seconds": recipe.data.decode_timeout_seconds}
