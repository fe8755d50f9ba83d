"""The folder of a run: it belongs to one recipe and one state of the data, and records facts about the run.

recipe.yaml  run.json (versions, data fingerprint)
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tubelet import __version__, config
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.recorded_split import KEY, split_facts
from tubelet.errors import ConfigError, DataError, Stopped, TubeletError
from tubelet.files import check_path, is_leftover, write_atomically
from tubelet.recipe import RECIPE, Recipe, load_recipe, save_recipe
from tubelet.session.fast_fp32 import KEY as FAST_FP32
from tubelet.session.fast_fp32 import fast_fp32_in_use
from tubelet.session.folder_lock import FILE as LOCK
from tubelet.session.folder_lock import FolderLock, locked
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.state.storage import tidy
from tubelet.weights.config import InitConfig

FACTS = "run.json"
PRETRAINING = "pretraining"  # the run that comes first, in the folder of one with ``pretrain_on``
_NOT_OURS = {LOCK, "lost+found"}  # the second is in the uppermost folder of a mounted file system


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that influence numbers."""
    names = ("torch", "torchvision", "timm", "av", "numpy", "pillow", "torchcodec", "nibabel")
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {"tubelet": __version__, **found}


def resume_recipe(folder: Path) -> Recipe:
    """Load the recipe of a run folder.

    Raises:
        ConfigError: The folder holds no run.
    """
    if not (folder / RECIPE).is_file():
        raise ConfigError(f"{folder}: no run to resume here (expected a folder with {RECIPE})")
    return with_own_encoder(load_recipe(str(folder / RECIPE)), folder)


def with_own_encoder(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of a run in this folder: with ``pretrain_on`` its first weights are those of its own pre-training.

    Raises:
        ConfigError: the recipe names other first weights.
    """
    if recipe.pretrain_on is None:
        return recipe
    own = (folder / PRETRAINING / "best").resolve()
    init = recipe.init or InitConfig(source=str(own))
    if Path(init.source).parts[-2:] != own.parts[-2:]:  # a folder that was moved has its own at another place
        raise ConfigError(
            f"init.source {init.source}: pretrain_on gives the first weights; leave one of them out (the pre-training "
            "itself begins with those of pretrain_on.fields.init.source)"
        )
    return dataclasses.replace(recipe, init=dataclasses.replace(init, source=str(own)))


def kept_rules(folder: Path) -> dict[str, Any]:
    """The recipe fields, with dots, that runs below a folder have from an earlier version, and their values.

    Runs that go on there, and those that are compared with them, take them over in place of today's defaults.
    """
    begun = next(iter(sorted(folder.rglob(RECIPE))), None)
    if begun is None:
        return {}
    recipe = resume_recipe(begun.parent)
    groups = {"protocol": recipe.protocol, "training": recipe.training}
    return {
        f"{group}.{name}": value
        for group, fields in groups.items()
        for name, value in config.earlier_values(fields).items()
    }


def rules_note(folder: Path, rules: Mapping[str, Any]) -> str:
    """A line for the user about ``kept_rules``."""
    listed = ", ".join(f"{name}={value}" for name, value in rules.items())
    return f"{folder}: begun with an earlier version, goes on by its rules ({listed}); give another --out for today's"


@contextmanager
def held_folder(folder: Path) -> Iterator[FolderLock]:
    """Make the folder and hold it for this process. After an error it is missing or empty again, if it was so before
    and the run cannot resume in it.

    A run resumes from its state; one that was asked to stop before its first state resumes by its recipe alone.

    Raises:
        ConfigError: A file or a dead link is in the way, or another process works in the folder.
    """
    check_path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as lock:
            is_new = is_empty(folder)
            try:
                yield lock
            except (TubeletError, OSError) as error:
                begun = (RECIPE,) if isinstance(error, Stopped) else (STATE, f"{PRETRAINING}/{STATE}")
                goes_on = any((folder / name).exists() for name in begun)
                if is_new and not goes_on and lock.is_held:
                    _remove_content(folder)
                raise
    except BaseException:
        for path in missing:
            with suppress(OSError):  # it holds the run, or another that has begun in it
                path.rmdir()
        raise


def is_empty(folder: Path) -> bool:
    """Whether a run may begin in an existing folder: only what killed writers, this process or a file system left is
    there."""
    return all(path.name in _NOT_OURS or is_leftover(path) for path in folder.iterdir())


def _remove_content(folder: Path) -> None:
    """Not the folder itself, which may be the current one or a mount point."""
    for path in folder.iterdir():
        if path.name in _NOT_OURS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def open_folder(
    recipe: Recipe, manifest: Manifest, folder: Path, device: torch.device, provenance: dict[str, Any] | None
) -> None:
    """Begin in an empty folder, or check that what is there belongs to the same recipe and the same data.

    Args:
        device: recorded in ``run.json``.
        provenance: of the first weights, recorded in ``run.json``. None means random weights.
    """
    if not (folder / RECIPE).exists():
        if not is_empty(folder):
            raise ConfigError(f"{folder}: not empty and not a run; give another --out")
        save_recipe(recipe, folder / RECIPE)
    elif (begun := resume_recipe(folder)) != recipe:
        comes_along = dataclasses.replace(begun, model=recipe.model) == recipe and not (folder / FACTS).exists()
        if recipe.pretrain_on is None or not comes_along:
            raise _another_recipe(folder, begun, recipe)
        save_recipe(recipe, folder / RECIPE)  # with the model fields that the encoder brought along
    tidy(folder)
    if not (folder / FACTS).exists():
        write_facts(folder, _facts(manifest, device))
    facts = read_facts(folder)
    if not manifest.is_of_fingerprint(facts["data_fingerprint"]):
        raise DataError(
            f"{recipe.data.source}: the data changed since the run began (fingerprint {facts['data_fingerprint']}, "
            f"now {manifest.fingerprint}); restore it, or start a new run"
        )
    if provenance is not None and provenance != facts.get("init"):
        write_facts(folder, facts | {"init": provenance})


def check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe, before anything is read.

    The model is left to ``open_folder``: data and first weights decide some of its fields.

    Raises:
        ConfigError: the recipes differ.
    """
    if (folder / RECIPE).is_file():
        begun = resume_recipe(folder)
        if dataclasses.replace(recipe, model=begun.model, protocol=begun.protocol) != begun:
            raise _another_recipe(folder, begun, recipe)


def _another_recipe(folder: Path, begun: Recipe, recipe: Recipe) -> ConfigError:
    epochs = recipe.training.num_epochs
    same_length = dataclasses.replace(begun, training=dataclasses.replace(begun.training, num_epochs=epochs))
    is_longer = same_length == recipe and epochs > begun.training.num_epochs
    fields = f" --training.num_epochs {epochs} for more epochs" if is_longer else ""
    return ConfigError(f"{folder}: holds a run of another recipe; give another --out, or --resume {folder}{fields}")


def _facts(manifest: Manifest, device: torch.device) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_fingerprint": manifest.fingerprint,
        KEY: split_facts(manifest),
        **({} if manifest.is_numeric else {"class_counts": _counts_by_split(manifest)}),
        "versions": {"python": platform.python_version(), **package_versions()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_threads": torch.get_num_threads(),
        FAST_FP32: fast_fp32_in_use().to_record(),
    }


def _counts_by_split(manifest: Manifest) -> dict[str, Any]:
    return {split: _class_counts(manifest.split(split)) for split in manifest.splits}


def _class_counts(manifest: Manifest) -> dict[str, Any]:
    """Rows of each class; of several heads, by head."""
    if len(manifest.class_names) == 1:
        return manifest.class_counts()
    return {head: manifest.class_counts(head) for head in manifest.class_names}


def check_shared(folder: Path) -> None:
    """Raise ConfigError when this process does not see the folder that process 0 opened."""
    if not (folder / RECIPE).is_file():
        raise ConfigError(
            f"{folder}: not to be seen from {socket.gethostname()}; the run folder must lie where all machines see it "
            "(--out)"
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of ``run.json``; empty before the folder is opened."""
    if not (folder / FACTS).is_file():
        return {}
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Replace the content of ``run.json``."""
    write_atomically(folder / FACTS, json.dumps(facts, indent=2) + "\n")
