"""The data of a run. A run keeps the split that it began with, whatever is found out about the data later."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from tubelet import config as config_io
from tubelet.data.features.store import read_store
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.layouts.unlabeled.read import without_labels
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import OnFile
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.recorded_split import as_recorded
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.runs.folder import FACTS, read_facts, resume_recipe
from tubelet.session.session import Session
from tubelet.tasks.regression import Regression


def read_run_data(
    recipe: Recipe, folder: Path | None, like: Path | None = None, on_file: OnFile = lambda done, total: None
) -> Manifest:
    """Read the data of a run with the split that it began with, or with a new one for a new run.

    Args:
        folder: of the run. None means that it has none yet.
        like: the folder of another run, whose split a new run takes. None means its own.
        on_file: called with the files that were searched for near-copies, and their number.
    """
    own, of_like = ({} if place is None else read_facts(place) for place in (folder, like))
    config = recipe.data.manifest
    if recipe.masked_pretraining is not None:
        config = without_labels(recipe.data.path, config)
    config, recorded = as_recorded(config, own or of_like)
    return read_manifest(recipe.data.path, config, recorded=recorded, on_file=on_file)


def read_data_of_all(recipe: Recipe, folder: Path, like: Path | None, session: Session) -> Manifest:
    """As ``read_run_data``, on every process of the session, which must see the same.

    Process 0 goes first, and the others read what it found out about near-copies.

    Raises:
        DataError: the data cannot be read.
        ConfigError: the processes see different data.
    """
    on_file = partial(session.advance, text="looking for near-copies")
    manifest = session.processes.main_first(lambda: read_run_data(recipe, folder, like, on_file))
    session.processes.check_same(manifest.fingerprint, "data with the fingerprint")
    return manifest


def protocol_of(recipe: Recipe, manifest: Manifest) -> Protocol:
    """The recipe's protocol with the labels of the data; of a feature store of an earlier version, with its rules."""
    kept = config_io.earlier_values(read_store(manifest.root).protocol) if manifest.layout == LAYOUT else {}
    if manifest.is_numeric:
        task = Regression.of_data(manifest)
        return dataclasses.replace(recipe.protocol, **kept, labels=dict(task.labels), number_scales=task.scales)
    labels = dict(manifest.class_names)
    return dataclasses.replace(recipe.protocol, **kept, labels=labels, multi_label=manifest.multi_label)


def run_on_same_data(root: Path, recipe: Recipe) -> Path | None:
    """The folder of a run below ``root`` that reads the same data in the same way. None means that there is none yet.

    New runs of a study take its split, also where it is that of an earlier version.
    """
    for file in sorted(root.rglob(FACTS)):
        data = resume_recipe(file.parent).data
        if (data.source, data.manifest) == (recipe.data.source, recipe.data.manifest):
            return file.parent
    return None
